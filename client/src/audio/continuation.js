/**
 * What is heard where samples are missing: the last period of what was heard, again and again, and fading
 * (the method and the fading of ITU-T G.711, appendix I). Everything is allocated once, for the worklet. Pure.
 */

import { FADE, MAX_LAG, MIN_LAG, mostSimilar } from './similarity.js';

/** Samples at 48 kHz that must be known of what was before. */
export const HISTORY = 2 * MAX_LAG;

const FULL = 480; // 10 ms as loud as before
const LENGTH = 2880; // and none after 60 ms
const STEP_RAMP = 96; // 2 ms

export class Continuation {
  /** Samples made up so far, of what can be heard. */ age = LENGTH;
  #lag = MIN_LAG;
  /** Of each channel, the last HISTORY samples before the gap. */ history;
  #periods;
  #steps;
  #mono = new Float32Array(HISTORY);
  #piece = new Float32Array(FADE);

  /** @param {number} channels */
  constructor(channels) {
    this.history = Array.from({ length: channels }, () => new Float32Array(HISTORY));
    this.#periods = Array.from({ length: channels }, () => new Float32Array(MAX_LAG));
    this.#steps = new Float32Array(channels);
  }

  /** Whether anything is left to be heard of it. */
  get over() {
    return this.age >= LENGTH;
  }

  /** Begins after `history`, which the caller has filled. @param {ArrayLike<number>} last what was put out last of each channel */
  begin(last) {
    this.age = 0;
    this.#lag = this.#period();
    const lag = this.#lag;
    for (let c = 0; c < this.history.length; c++) {
      const history = /** @type {Float32Array} */ (this.history[c]);
      this.#cut(history, /** @type {Float32Array} */ (this.#periods[c]));
      this.#steps[c] = (last[c] ?? 0) - /** @type {number} */ (history[HISTORY - 1 - lag]);
    }
  }

  /** How far back the end of the history was heard before. */
  #period() {
    const mono = this.#mono;
    mono.fill(0);
    for (let c = 0; c < this.history.length; c++) {
      const history = /** @type {Float32Array} */ (this.history[c]);
      for (let i = 0; i < HISTORY; i++) mono[i] = /** @type {number} */ (mono[i]) + /** @type {number} */ (history[i]) / (c + 1);
    }
    const piece = this.#piece;
    for (let i = 0; i < FADE; i++) piece[i] = /** @type {number} */ (mono[HISTORY - FADE + i]);
    const first = HISTORY - FADE - MAX_LAG;
    mono.copyWithin(0, first); // the field begins at the longest lag
    return MAX_LAG - mostSimilar(piece, FADE, mono, MAX_LAG - MIN_LAG + 1);
  }

  /** A period whose end leads to its beginning. @param {Float32Array} history @param {Float32Array} period */
  #cut(history, period) {
    const lag = this.#lag;
    const seam = lag >> 2;
    for (let i = 0; i < lag; i++) {
      const weight = Math.max(0, (i - (lag - seam) + 1) / (seam + 1));
      const later = /** @type {number} */ (history[HISTORY - lag + i]);
      const earlier = /** @type {number} */ (history[HISTORY - 2 * lag + i]);
      period[i] = later + (earlier - later) * weight;
    }
  }

  /** One sample of a channel. @param {number} channel @param {number} age samples since it began */
  sample(channel, age) {
    if (age >= LENGTH) return 0;
    const period = /** @type {Float32Array} */ (this.#periods[channel]);
    const step = age < STEP_RAMP ? /** @type {number} */ (this.#steps[channel]) * (1 - age / STEP_RAMP) : 0;
    const gain = age < FULL ? 1 : 1 - (age - FULL) / (LENGTH - FULL);
    return (/** @type {number} */ (period[age % this.#lag]) + step) * gain;
  }
}
