/**
 * Where a frame's time went, from capture to paint: a sliding median for each stage, and some frames in full for the
 * gateway's figures.
 */

import { Window } from '../media/statistics.js';

/** @typedef {import('../types.js').StageName} StageName */
/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('../media/clock.js').ClockSync} ClockSync */
/** @typedef {import('../media/messages.js').Message} Message */

const WINDOW_MS = 5000;
const TRACE_EVERY_US = 1_000_000;
const TRACED = 8; // frames in a message

/** @type {readonly StageName[]} in the order in which a frame goes through them */
export const STAGES = ['capture', 'convert', 'encode', 'queue', 'send', 'receive', 'reassemble', 'decode', 'paint'];
const ARRIVED = STAGES.indexOf('receive'); // from there on it is this clock alone that measures

/**
 * How long each stage took, µs. A stage that a source or encoder does not have ends where the one before it ended.
 * @param {FrameInfo} info @param {number} paintUs @param {ClockSync} clock @param {number} queueUs @returns {number[]} as STAGES
 */
function durations({ frame, decodedUs }, paintUs, clock, queueUs) {
  const grabbed = frame.grabbedUs || frame.captureUs;
  const converted = frame.convertedUs || grabbed;
  const encoded = frame.encodedUs || converted;
  const sent = encoded + queueUs;
  const ordered = frame.orderedUs ?? frame.arrivalUs;
  return [
    grabbed - frame.captureUs, converted - grabbed, encoded - converted, queueUs, clock.toGateway(frame.firstByteUs) - sent,
    frame.arrivalUs - frame.firstByteUs, ordered - frame.arrivalUs, decodedUs - ordered, paintUs - decodedUs,
  ];
}

export class Stages {
  /** How long the gateway's last frame waited between hub and transport, as it says once a second. */
  queueUs = 0;
  #windows = STAGES.map(() => new Window(WINDOW_MS));
  /** @type {{track: number, group: number, index: number, stages: number[]}[]} */ #traced = [];
  #tracedUs = -Infinity;
  #sentUs = -Infinity;

  /** @param {FrameInfo} info @param {number} paintUs @param {ClockSync} clock */
  add(info, paintUs, clock) {
    const took = durations(info, paintUs, clock, this.queueUs);
    this.#windows.forEach((window, i) => (clock.ready || i >= ARRIVED) && window.add(/** @type {number} */ (took[i]), paintUs / 1000));
    if (!clock.ready || this.#traced.length >= TRACED || paintUs - this.#tracedUs < TRACE_EVERY_US / TRACED) return;
    this.#tracedUs = paintUs;
    const { track, group, index } = info.frame;
    this.#traced.push({ track, group, index, stages: took.map((us) => Math.max(0, Math.round(us))) }); // clocks differ a little
  }

  /** What the gateway is to hear now. @param {number} nowUs @returns {Message | null} */
  takeTrace(nowUs) {
    if (!this.#traced.length || nowUs - this.#sentUs < TRACE_EVERY_US) return null;
    this.#sentUs = nowUs;
    return { kind: 'trace', frames: this.#traced.splice(0) };
  }

  clear() {
    for (const window of this.#windows) window.clear();
    this.#traced = [];
  }

  /** @returns {Record<StageName, number>} medians in ms */
  get medians() {
    const all = STAGES.map((name, i) => [name, Math.round((this.#windows[i]?.percentile(0.5) ?? 0) / 10) / 100]);
    return Object.fromEntries(all);
  }
}
