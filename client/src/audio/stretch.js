/**
 * Another speed at the same pitch: now and then some periods of the ring's sound are left out or heard twice, at the
 * lag where they resemble their neighbours most (WSOLA), and one fades into the other. Where it is silent more is left
 * out. Moves the reader's position; allocates nothing once it is made. Pure; imports ring and similarity.
 */

import { READ } from './ring.js';
import { FADE, isSilent, MAX_LAG, MIN_LAG, mostSimilar } from './similarity.js';

/** @typedef {import('./ring.js').Ring} Ring */

const SAMPLES_PER_PPM = 0.048; // of a second at 48 kHz
const LEAST_FADE = 48;
const MOST_SKEW = 2 * FADE; // a skip may be so much longer than asked for

export class Stretch {
  /** How far the position that fades out lies behind the reader's; negative: ahead. */ lag = 0;
  #fade = FADE;
  #left = 0; // of the fade
  #debt = 0; // samples to leave out; negative: to repeat
  #faster = false;
  #heard = 0; // samples behind the reader that may be heard again
  #piece = new Float32Array(FADE);
  #field = new Float32Array(MAX_LAG + FADE);

  /** @param {Ring} ring */
  constructor(ring) {
    this.ring = ring;
  }

  /** Play begins: what is behind the reader belongs to something else. */
  reset() {
    this.#left = this.#debt = this.#heard = 0;
  }

  /** How much of what fades out is heard. @param {number} ahead samples from now @returns {number} 0..1 */
  weight(ahead) {
    return ahead < this.#left ? (this.#left - ahead) / this.#fade : 0;
  }

  /** @param {number} count samples that were put out */
  played(count) {
    this.#left = Math.max(0, this.#left - count);
    this.#heard = Math.min(MAX_LAG, this.#heard + count);
  }

  /**
   * The next block is to be played at another speed.
   * @param {number} ppm around natural; no more is made up at once than in a second at that speed @param {number} count
   */
  advance(ppm, count) {
    if (ppm === 0 || ppm > 0 !== this.#faster) this.#debt = 0;
    this.#faster = ppm > 0;
    this.#debt += (ppm / 1e6) * count;
    if (this.#left > 0 || (ppm > 0 ? this.#debt : -this.#debt) < MIN_LAG) return;
    const most = Math.min(MAX_LAG, Math.floor(Math.abs(ppm) * SAMPLES_PER_PPM));
    if (ppm > 0) this.#leaveOut(most, count);
    else this.#repeat(most, count);
  }

  /** @param {number} most samples @param {number} count */
  #leaveOut(most, count) {
    const longest = Math.min(most, this.ring.depth - FADE - count - 1);
    if (longest < MIN_LAG) return;
    const lag = this.#find(MIN_LAG, longest, FADE);
    if (isSilent(this.#field, longest - MIN_LAG + FADE)) {
      this.#debt = 0; // sooner there than it would be where something is heard
      this.#move(longest, FADE);
    } else {
      this.#debt -= lag;
      this.#move(lag, FADE);
    }
  }

  /** @param {number} most samples @param {number} count */
  #repeat(most, count) {
    const longest = Math.min(most, this.#heard);
    const fade = Math.min(FADE, this.ring.depth - count - 1);
    if (longest < MIN_LAG || fade < LEAST_FADE) return;
    const lag = this.#find(-longest, -MIN_LAG, fade);
    this.#debt -= lag;
    this.#heard = 0;
    this.#move(lag, fade);
  }

  /**
   * Leaves out that much, and a little more where it fits better.
   * @param {number} jump samples @param {number} count @returns {boolean} false: there is not enough behind it
   */
  skip(jump, count) {
    if (this.#left > 0) return true; // one after the other
    const longest = Math.min(jump + MOST_SKEW, this.ring.depth - FADE - count - 1);
    if (longest < jump) return false;
    this.#move(this.#find(jump, longest, FADE), FADE);
    this.#debt = 0;
    return true;
  }

  /** Where what comes next is found again. @param {number} from @param {number} to samples from here @param {number} size */
  #find(from, to, size) {
    this.#copy(this.#piece, 0, size);
    this.#copy(this.#field, from, to - from + size);
    return from + mostSimilar(this.#piece, size, this.#field, to - from + 1);
  }

  /** The sum of all channels, weighted so that opposite ones do not cancel out. @param {Float32Array} target @param {number} from @param {number} size */
  #copy(target, from, size) {
    const { ring } = this;
    const at = ring.get(READ) + from;
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let c = 0; c < ring.planes.length; c++) sum += ring.sample(c, at + i) / (c + 1);
      target[i] = sum;
    }
  }

  /** @param {number} lag @param {number} fade samples */
  #move(lag, fade) {
    const { ring } = this;
    ring.set(READ, (ring.get(READ) + lag) | 0);
    this.lag = lag;
    this.#left = this.#fade = fade;
  }
}
