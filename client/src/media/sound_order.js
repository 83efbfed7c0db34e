/**
 * Puts the frames of a sound track in order, each rendition's by itself: while the gateway goes over to
 * another one, both come for a moment, each with its own groups. Mirrors wtgateway/protocol/sound_order.py.
 * Pure: `nowUs` is any monotonic clock.
 */

import { FrameOrder } from './ordering.js';

/** @typedef {import('./ordering.js').Orderable & {rendition: number}} Sounding */

export const APART_US = 500_000; // a rendition that was left so long ago begins anew: what it missed is no loss

/** @template {Sounding} F */
export class SoundOrder {
  #options;
  /** @type {Map<number, FrameOrder<F>>} the last two renditions, newest last */ #orders = new Map();
  /** @type {Map<number, number>} */ #newestUs = new Map();
  #counters = new FrameOrder().counters; // of all that there were

  /** @param {{patienceUs: number, tailUs?: number}} options of each one's order */
  constructor(options) {
    this.#options = options;
  }

  get counters() {
    return this.#counters;
  }

  /** @param {F} frame @param {number} nowUs @returns {F[]} the frames that can be decoded now */
  push(frame, nowUs) {
    const order = this.#of(frame);
    this.#newestUs.set(frame.rendition, Math.max(this.#newestUs.get(frame.rendition) ?? frame.ptsUs, frame.ptsUs));
    return order.push(frame, nowUs);
  }

  /** A frame will never come. @param {number} rendition @param {number} group @param {number} index @param {number} nowUs @returns {F[]} */
  lost(rendition, group, index, nowUs) {
    return this.#orders.get(rendition)?.lost(group, index, nowUs) ?? [];
  }

  /** Gives up waiting where time has run out. @param {number} nowUs @returns {F[]} */
  advance(nowUs) {
    return [...this.#orders.values()].flatMap((order) => order.advance(nowUs));
  }

  /** When advance() has something to do if nothing arrives; null: never. @returns {number | null} */
  nextTimeout() {
    const times = [...this.#orders.values()].map((order) => order.nextTimeout()).filter((time) => time !== null);
    return times.length ? Math.min(...times) : null;
  }

  /** @param {F} frame */
  #of({ rendition, ptsUs }) {
    const known = this.#orders.get(rendition);
    const current = [...this.#orders.keys()].at(-1) ?? rendition;
    const left = rendition !== current && ptsUs - (this.#newestUs.get(rendition) ?? 0) > APART_US;
    if (known && !left) return known;
    /** @type {FrameOrder<F>} */ const order = new FrameOrder({ independent: true, ...this.#options });
    order.counters = this.#counters;
    for (const kept of [this.#orders, this.#newestUs]) {
      for (const other of [...kept.keys()]) if (other !== current || other === rendition) kept.delete(other);
    }
    this.#orders.set(rendition, order);
    return order;
  }
}
