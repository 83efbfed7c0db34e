/** Where a frame's time went, from capture to paint: a sliding median for each stage. */

import { Window } from '../media/statistics.js';

/** @typedef {import('../types.js').StageName} StageName */
/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('../media/clock.js').ClockSync} ClockSync */

const WINDOW_MS = 5000;

/** @type {readonly StageName[]} in the order in which a frame goes through them */
export const STAGES = ['capture', 'convert', 'encode', 'queue', 'send', 'receive', 'decode', 'paint'];

export class Stages {
  /** How long the gateway's last frame waited between hub and transport, as it says once a second. */
  queueUs = 0;
  #windows = new Map(STAGES.map((name) => [name, new Window(WINDOW_MS)]));

  /** @param {FrameInfo} info @param {number} paintUs @param {ClockSync} clock */
  add({ frame, decodedUs }, paintUs, clock) {
    const now = paintUs / 1000;
    const add = (/** @type {StageName} */ name, /** @type {number} */ us) => this.#windows.get(name)?.add(us, now);
    add('receive', frame.arrivalUs - frame.firstByteUs);
    add('decode', decodedUs - frame.arrivalUs);
    add('paint', paintUs - decodedUs);
    if (!clock.ready) return;
    // A stage that a source or encoder does not have ends where the one before it ended.
    const grabbed = frame.grabbedUs || frame.captureUs;
    const converted = frame.convertedUs || grabbed;
    const encoded = frame.encodedUs || converted;
    add('capture', grabbed - frame.captureUs);
    add('convert', converted - grabbed);
    add('encode', encoded - converted);
    add('queue', this.queueUs);
    add('send', clock.toGateway(frame.firstByteUs) - encoded - this.queueUs);
  }

  clear() {
    for (const window of this.#windows.values()) window.clear();
  }

  /** @returns {Record<StageName, number>} medians in ms */
  get medians() {
    const all = [...this.#windows].map(([name, window]) => [name, Math.round(window.percentile(0.5) / 10) / 100]);
    return Object.fromEntries(all);
  }
}
