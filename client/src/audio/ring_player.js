/**
 * The reader of the ring: what the worklet does for every block of samples. Small differences in speed are made up
 * by resampling, larger ones by leaving out or repeating what resembles its neighbourhood (see stretch.js), so that the
 * pitch stays; a dry ring is bridged by a continuation of what was heard (see continuation.js). Every edge is a
 * cross-fade. Allocates nothing once it is made. Runs in the worklet and in node.
 */

import { Continuation, HISTORY } from './continuation.js';
import { CONCEALED, HOLD, PLAYED, RATE, READ, RUNNING, SKIP_TO, START, UNDERRUNS } from './ring.js';
import { FADE } from './similarity.js';
import { Stretch } from './stretch.js';

/** @typedef {import('./ring.js').Ring} Ring */

const RESAMPLED_PPM = 2_500; // four cents: below what is heard as another pitch

export class RingPlayer {
  #playing = false;
  #gain = 0; // of the ring's samples; the rest is the continuation's
  #fraction = 0; // of a sample, where reading stands between two
  #held = 0;
  #dry = false; // and what bridges it can still be heard
  #continuation;
  #stretch;
  #last; // put out last, per channel

  /** @param {Ring} ring */
  constructor(ring) {
    this.ring = ring;
    this.#held = ring.get(HOLD);
    this.#continuation = new Continuation(ring.planes.length);
    this.#stretch = new Stretch(ring);
    this.#last = new Float32Array(ring.planes.length);
  }

  /** Fills the block. @param {Float32Array[]} out one plane per channel */
  render(out) {
    const count = out[0]?.length ?? 0;
    if (!this.#playing) this.#begin(count);
    if (!this.#playing) return this.#conceal(out, 0, count, false);
    const { ring } = this;
    const ppm = ring.get(RATE);
    const resampled = Math.abs(ppm) <= RESAMPLED_PPM;
    if (ppm === 0) this.#fraction = 0;
    this.#stretch.advance(resampled ? 0 : ppm, count);
    const jump = (ring.get(SKIP_TO) - ring.get(READ)) | 0;
    const ends = (jump > 0 && !this.#stretch.skip(jump, count)) || ((ring.get(HOLD) - this.#held) | 0) > 0;
    const rate = resampled ? 1 + ppm / 1e6 : 1;
    const playable = ends ? 0 : this.#playable(count, rate);
    if (playable > 0) this.#play(out, playable, rate);
    if (playable < count) this.#stop(out, playable, count, !ends);
    if (ends) this.#leave(jump);
    ring.set(RUNNING, this.#playing ? 1 : 0);
  }

  /** Whether play can start: held long enough, and enough gathered. @param {number} count */
  #begin(count) {
    const { ring } = this;
    this.#leave((ring.get(SKIP_TO) - ring.get(READ)) | 0);
    const hold = (ring.get(HOLD) - this.#held) | 0;
    if (hold > 0) {
      this.#held = (this.#held + Math.min(hold, count)) | 0;
      return;
    }
    if (ring.depth < Math.max(ring.get(START), count)) return;
    this.#playing = true;
    this.#dry = false;
    this.#stretch.reset();
  }

  /** @param {number} jump samples that are not to be played */
  #leave(jump) {
    if (jump <= 0) return;
    const { ring } = this;
    ring.set(READ, (ring.get(READ) + Math.min(jump, ring.depth)) | 0);
    this.#fraction = 0;
  }

  /** How many samples can be put out. @param {number} count @param {number} rate */
  #playable(count, rate) {
    const { depth } = this.ring;
    if (rate === 1 && this.#fraction === 0) return Math.min(count, depth);
    const ready = Math.floor((depth - 1 - this.#fraction) / rate); // each needs the next one, too
    return Math.max(0, Math.min(count, ready));
  }

  /** @param {Float32Array[]} out @param {number} count samples to play @param {number} rate */
  #play(out, count, rate) {
    const { ring } = this;
    const from = ring.get(READ);
    const stretch = this.#stretch;
    const continuation = this.#continuation;
    const { age } = continuation;
    const gain = this.#gain;
    for (let c = 0; c < out.length; c++) {
      const plane = /** @type {Float32Array} */ (out[c]);
      for (let i = 0; i < count; i++) {
        const place = this.#fraction + i * rate;
        const whole = Math.floor(place);
        let value = this.#at(c, from + whole, place - whole);
        const old = stretch.weight(i);
        if (old > 0) value += (this.#at(c, from + whole - stretch.lag, place - whole) - value) * old;
        const share = gain + i / FADE;
        if (share < 1) {
          const other = continuation.sample(c, age + i);
          value = other + (value - other) * share;
        }
        plane[i] = value;
      }
      this.#last[c] = /** @type {number} */ (plane[count - 1]);
    }
    this.#gain = Math.min(1, gain + count / FADE);
    if (this.#gain < 1) continuation.age += count;
    stretch.played(count);
    this.#advance(from, count, rate);
  }

  /** @param {number} channel @param {number} position @param {number} part of the way to the next one */
  #at(channel, position, part) {
    const sample = this.ring.sample(channel, position);
    return part === 0 ? sample : sample + (this.ring.sample(channel, position + 1) - sample) * part;
  }

  /** @param {number} from @param {number} count @param {number} rate */
  #advance(from, count, rate) {
    const place = this.#fraction + count * rate;
    const whole = Math.floor(place);
    this.#fraction = place - whole;
    this.ring.set(READ, (from + whole) | 0);
    this.ring.set(PLAYED, (this.ring.get(PLAYED) + count) | 0);
  }

  /**
   * The sound stops within this block.
   * @param {Float32Array[]} out @param {number} from @param {number} to @param {boolean} dry there is nothing left to play
   */
  #stop(out, from, to, dry) {
    const { ring } = this;
    this.#playing = false;
    const continuation = this.#continuation;
    const end = ring.get(READ);
    for (let c = 0; c < out.length; c++) {
      const history = /** @type {Float32Array} */ (continuation.history[c]);
      for (let i = 0; i < HISTORY; i++) history[i] = ring.sample(c, end - HISTORY + i);
    }
    continuation.begin(this.#last);
    if (dry) ring.set(UNDERRUNS, (ring.get(UNDERRUNS) + 1) | 0);
    this.#conceal(out, from, to, dry);
  }

  /** @param {Float32Array[]} out @param {number} from @param {number} to @param {boolean} dry */
  #conceal(out, from, to, dry) {
    const { ring } = this;
    const continuation = this.#continuation;
    this.#dry = (dry || this.#dry) && !continuation.over;
    if (this.#dry) ring.set(CONCEALED, (ring.get(CONCEALED) + to - from) | 0);
    const { age } = continuation;
    for (let c = 0; c < out.length; c++) {
      const plane = /** @type {Float32Array} */ (out[c]);
      for (let i = from; i < to; i++) plane[i] = continuation.sample(c, age + i - from);
      this.#last[c] = /** @type {number} */ (plane[to - 1]);
    }
    continuation.age += to - from;
    this.#gain = 0;
    ring.set(RUNNING, 0);
  }
}
