/**
 * Wishes for fragments that did not come, a datagram of the viewer's (docs/protocol.md, "NACK"), as
 * wtgateway/protocol/nacks.py has them. Pure; imports nothing.
 */

/**
 * @typedef {object} NackEntry
 * @property {number} track
 * @property {number} rendition
 * @property {number} group
 * @property {number} index
 * @property {number} first number of the first data fragment that is missing
 * @property {number} last and of the last; 0 to WHOLE: nothing of the frame came
 */

export const WHOLE = 0xffff;
const TYPE = 0x20;
const HEADER_BYTES = 2;
const ENTRY_BYTES = 14;
const MAX_ENTRIES = 64;

/** @param {NackEntry[]} entries @param {number} maxBytes of a datagram @returns {Uint8Array<ArrayBuffer>[]} datagrams */
export function encodeNacks(entries, maxBytes) {
  const each = Math.min(MAX_ENTRIES, Math.floor((maxBytes - HEADER_BYTES) / ENTRY_BYTES));
  /** @type {Uint8Array<ArrayBuffer>[]} */ const datagrams = [];
  for (let at = 0; each > 0 && at < entries.length; at += each) datagrams.push(encode(entries.slice(at, at + each)));
  return datagrams;
}

/** @param {NackEntry[]} entries */
function encode(entries) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + ENTRY_BYTES * entries.length));
  view.setUint8(0, TYPE);
  view.setUint8(1, entries.length);
  for (const [i, { track, rendition, group, index, first, last }] of entries.entries()) {
    const at = HEADER_BYTES + ENTRY_BYTES * i;
    view.setUint8(at, track);
    view.setUint8(at + 1, rendition);
    view.setUint32(at + 2, group);
    view.setUint32(at + 6, index);
    view.setUint16(at + 10, first);
    view.setUint16(at + 12, last);
  }
  return new Uint8Array(view.buffer);
}
