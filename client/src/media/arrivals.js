/**
 * When frames came, a datagram of the viewer's (docs/protocol.md, "Arrivals"), as
 * wtgateway/protocol/arrivals.py has it: the gateway sees from it how long they were on the way.
 * Pure; imports nothing. Times are of the viewer's own monotonic clock.
 */

/**
 * @typedef {object} Arrival
 * @property {number} track
 * @property {number} group
 * @property {number} index
 * @property {boolean} complete all of it is here
 * @property {boolean} stream it came as a stream
 * @property {number} receivedBytes of it; parity and what came twice do not count
 * @property {number} firstUs when its first byte came
 * @property {number} lastUs and the last that is here
 */

const TYPE = 0x21;
const HEADER_BYTES = 12;
const ENTRY_BYTES = 20;
const MAX_ENTRIES = 64;
const COMPLETE = 0x01;
const STREAM = 0x02;
const UNIT_BYTES = 64;
const U16 = 0xffff;
const U32 = 2 ** 32;

/** @param {Arrival[]} arrivals @param {number} maxBytes of a datagram @returns {Uint8Array<ArrayBuffer>[]} datagrams */
export function encodeArrivals(arrivals, maxBytes) {
  const each = Math.min(MAX_ENTRIES, Math.floor((maxBytes - HEADER_BYTES) / ENTRY_BYTES));
  /** @type {Uint8Array<ArrayBuffer>[]} */ const datagrams = [];
  for (let at = 0; each > 0 && at < arrivals.length; at += each) datagrams.push(encode(arrivals.slice(at, at + each)));
  return datagrams;
}

/** @param {Arrival[]} arrivals */
function encode(arrivals) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + ENTRY_BYTES * arrivals.length));
  const baseUs = Math.min(...arrivals.map(({ firstUs }) => firstUs));
  view.setUint8(0, TYPE);
  view.setUint8(1, arrivals.length);
  view.setUint32(4, Math.floor(baseUs / U32));
  view.setUint32(8, baseUs % U32);
  for (const [i, arrival] of arrivals.entries()) {
    const at = HEADER_BYTES + ENTRY_BYTES * i;
    view.setUint8(at, arrival.track);
    view.setUint8(at + 1, (arrival.complete ? COMPLETE : 0) | (arrival.stream ? STREAM : 0));
    view.setUint16(at + 2, Math.min(U16, Math.ceil(arrival.receivedBytes / UNIT_BYTES)));
    view.setUint32(at + 4, arrival.group);
    view.setUint32(at + 8, arrival.index);
    view.setUint32(at + 12, Math.min(U32 - 1, arrival.firstUs - baseUs));
    view.setUint32(at + 16, Math.min(U32 - 1, arrival.lastUs - baseUs));
  }
  return new Uint8Array(view.buffer);
}

const MAX_KEPT = 256; // frames of which something came since the last report; the oldest give way

/** Gathers what is to be reported. */
export class ArrivalLog {
  /** @type {Map<string, Arrival>} newest last */ #frames = new Map();

  /** Whether there is nothing to report. */
  get empty() {
    return this.#frames.size === 0;
  }

  /** Something of a frame came. @param {Arrival} arrival what has come of it until now */
  note(arrival) {
    const key = `${arrival.track}:${arrival.group}:${arrival.index}`;
    this.#frames.delete(key);
    this.#frames.set(key, arrival);
    const [oldest] = this.#frames.keys();
    if (this.#frames.size > MAX_KEPT && oldest !== undefined) this.#frames.delete(oldest);
  }

  /** What came since it was asked last. @returns {Arrival[]} */
  take() {
    const news = [...this.#frames.values()];
    this.#frames.clear();
    return news;
  }
}
