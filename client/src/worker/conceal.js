/**
 * Sound in place of packets that never came: what was before goes on, what comes after is led up to, and one fades
 * into the other. WebCodecs has no call for the copies of the past that an Opus packet may carry (in-band FEC, RFC 6716,
 * section 2.1.7), nor for a decoder's own concealment: an AudioDecoder takes whole packets only. Pure but for its memory.
 */

import { Continuation, HISTORY } from '../audio/continuation.js';

const MOST_FADE = 960; // samples

export class Concealer {
  #before;
  #after;

  /** @param {number} channels */
  constructor(channels) {
    this.channels = channels;
    this.#before = new Continuation(channels);
    this.#after = new Continuation(channels);
  }

  /** Samples that were played, in order. @param {Float32Array[]} planes one per channel */
  remember(planes) {
    this.#before.history.forEach((history, channel) => append(history, planes[channel] ?? new Float32Array(0)));
  }

  /**
   * @param {number} count samples that are missing
   * @param {Float32Array[]} next those that follow, one array per channel
   * @returns {Float32Array<ArrayBuffer>[]}
   */
  fill(count, next) {
    const [before, after] = [this.#before, this.#after];
    before.begin(before.history.map((history) => history[HISTORY - 1] ?? 0));
    after.history.forEach((history, channel) => history.fill(0) && append(history, reversed(next[channel])));
    after.begin(next.map((plane) => plane[0] ?? 0));
    const fade = Math.min(count, MOST_FADE);
    return before.history.map((_, channel) => Float32Array.from({ length: count }, (_, i) => {
      const share = Math.min(1, Math.max(0, (i + 0.5 - (count - fade) / 2) / fade));
      return before.sample(channel, i) * (1 - share) + after.sample(channel, count - 1 - i) * share;
    }));
  }
}

/** As if time ran backwards. @param {Float32Array} [plane] */
const reversed = (plane = new Float32Array(0)) => plane.slice(0, HISTORY).reverse();

/** @param {Float32Array} history @param {Float32Array} plane */
function append(history, plane) {
  const count = Math.min(plane.length, history.length);
  history.copyWithin(0, count);
  history.set(plane.subarray(plane.length - count), history.length - count);
}
