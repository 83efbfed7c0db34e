/**
 * The reader of the ring: what the worklet does for every block of samples. Plays at a speed near
 * natural, skips and holds as the writer asks, and bridges a dry ring with silence; every edge is
 * a short ramp, because a step is heard as a click. Runs in the worklet and in node; imports ring.
 */

import { HOLD, PLAYED, RATE, READ, RUNNING, SKIP_TO, START, UNDERRUNS } from './ring.js';

/** @typedef {import('./ring.js').Ring} Ring */

const RAMP = 96; // samples, 2 ms

export class RingPlayer {
  #playing = false;
  #gain = 0;
  #fraction = 0; // of a sample, where reading stands between two
  #held = 0;
  /** @type {number[]} last sample put out per channel, to fade from when the ring is dry */ #last = [];
  #tail = 0; // how much of it is left, 0..1

  /** @param {Ring} ring */
  constructor(ring) {
    this.ring = ring;
    this.#held = ring.get(HOLD);
  }

  /** Fills the block. @param {Float32Array[]} out one plane per channel */
  render(out) {
    const count = out[0]?.length ?? 0;
    if (!this.#playing) this.#begin(count);
    if (!this.#playing) return this.#silence(out, 0);
    const { ring } = this;
    const jump = (ring.get(SKIP_TO) - ring.get(READ)) | 0;
    const hold = (ring.get(HOLD) - this.#held) | 0;
    const rate = 1 + ring.get(RATE) / 1e6;
    if (rate === 1) this.#fraction = 0;
    const ready = Math.floor((ring.depth - 1 - this.#fraction) / rate) + 1;
    const playable = rate === 1 ? Math.min(count, ring.depth) : Math.max(0, Math.min(count, ready - 1));
    const dry = playable < count;
    this.#play(out, playable, rate, dry || jump > 0 || hold > 0);
    if (dry) this.#runDry(out, playable);
    else if (jump > 0) this.#skip(jump);
    else if (hold > 0) this.#playing = false;
    ring.set(RUNNING, this.#playing ? 1 : 0);
  }

  /** Whether play can start: held long enough, and enough gathered. @param {number} count */
  #begin(count) {
    const { ring } = this;
    const jump = (ring.get(SKIP_TO) - ring.get(READ)) | 0;
    if (jump > 0) this.#skip(jump);
    const hold = (ring.get(HOLD) - this.#held) | 0;
    if (hold > 0) {
      this.#held = (this.#held + Math.min(hold, count)) | 0;
      return;
    }
    if (ring.depth < Math.max(ring.get(START), count)) return;
    this.#playing = true;
    this.#gain = 0;
  }

  /**
   * @param {Float32Array[]} out @param {number} count samples to play @param {number} rate
   * @param {boolean} fade whether the sound ends with this block
   */
  #play(out, count, rate, fade) {
    const { ring } = this;
    const from = ring.get(READ);
    const fadeAt = fade ? Math.max(0, count - RAMP) : count;
    let gain = this.#gain;
    for (let i = 0; i < count; i++) {
      if (i < fadeAt) gain = Math.min(1, gain + 1 / RAMP);
      else gain = Math.max(0, gain - 1 / Math.min(RAMP, count));
      const place = this.#fraction + i * rate;
      const whole = Math.floor(place);
      const part = place - whole;
      for (let c = 0; c < out.length; c++) {
        const plane = /** @type {Float32Array} */ (out[c]);
        const sample = ring.sample(c, from + whole);
        const value = part === 0 ? sample : sample + (ring.sample(c, from + whole + 1) - sample) * part;
        plane[i] = value * gain;
      }
    }
    this.#gain = gain;
    this.#advance(from, count, rate, out);
  }

  /** @param {number} from @param {number} count @param {number} rate @param {Float32Array[]} out */
  #advance(from, count, rate, out) {
    if (count === 0) return;
    const place = this.#fraction + count * rate;
    const whole = Math.floor(place);
    this.#fraction = place - whole;
    this.ring.set(READ, (from + whole) | 0);
    this.ring.set(PLAYED, (this.ring.get(PLAYED) + whole) | 0);
    this.#last = out.map((plane) => plane[count - 1] ?? 0);
    this.#tail = 1;
  }

  /** @param {Float32Array[]} out @param {number} from */
  #runDry(out, from) {
    this.#playing = false;
    this.#gain = 0;
    this.ring.set(UNDERRUNS, (this.ring.get(UNDERRUNS) + 1) | 0);
    this.#silence(out, from);
  }

  /** Silence, after what is left of the last sample has faded. @param {Float32Array[]} out @param {number} from */
  #silence(out, from) {
    this.ring.set(RUNNING, 0);
    let tail = this.#tail;
    for (let i = from; i < (out[0]?.length ?? 0); i++) {
      tail = Math.max(0, tail - 1 / RAMP);
      for (let c = 0; c < out.length; c++) /** @type {Float32Array} */ (out[c])[i] = (this.#last[c] ?? 0) * tail;
    }
    this.#tail = tail;
  }

  /** @param {number} jump */
  #skip(jump) {
    const { ring } = this;
    const reach = Math.min(jump, ring.depth);
    ring.set(READ, (ring.get(READ) + reach) | 0);
    this.#fraction = 0;
    this.#gain = 0;
  }
}
