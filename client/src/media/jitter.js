/**
 * Arrival jitter, and how deep a ring of sound must be for it. Pure; imports statistics only.
 *
 * Everything here is in "delay": local time minus presentation timestamp. The two clocks may be
 * far apart; only differences of delays matter, so no clock estimate is needed.
 */

import { Window } from './statistics.js';

/** Interarrival jitter of RFC 3550, section 6.4.1, in the unit of its input. */
export class Jitter {
  value = 0;
  /** @type {number | null} */ #last = null;

  /** @param {number} delay */
  add(delay) {
    if (this.#last !== null) this.value += (Math.abs(delay - this.#last) - this.value) / 16;
    this.#last = delay;
  }

  reset() {
    this.#last = null;
    this.value = 0;
  }
}

const MARGIN_START_US = 12_000; // render quanta come in bursts of up to 10 ms
const MARGIN_STEP_US = 6_000;
const MARGIN_MAX_US = 60_000;
const NEARLY_ALL = 0.97;
const MAX_SPREAD_US = 120_000; // what is later than that is cheaper to lose than to wait for
const MARGIN_CALM_US = 8_000_000; // without an underrun for so long: a little less every second

const SETTLE_US = 1_000_000;

/**
 * Delays of the last seconds. A viewer that joins gets the running group in one burst, older than
 * anything later will be: until that has settled only the last delay counts.
 */
export class Delays {
  #window = new Window(4000, 400);
  /** @type {number | null} */ #firstUs = null;
  #last = 0;

  /** @param {number} delayUs @param {number} nowUs local */
  add(delayUs, nowUs) {
    this.#firstUs ??= nowUs;
    this.#last = delayUs;
    if (nowUs - this.#firstUs >= SETTLE_US) this.#window.add(delayUs, nowUs / 1000);
  }

  /** False before the first one. */
  get known() {
    return this.#firstUs !== null;
  }

  /** @param {number} share 0..1 */
  percentile(share) {
    return this.#window.count ? this.#window.percentile(share) : this.#last;
  }

  reset() {
    this.#window.clear();
    this.#firstUs = null;
  }
}

/** The delay that the sound needs: that of nearly all packets, and a margin that learns from what was late. */
export class AudioNeed {
  marginUs = MARGIN_START_US;
  #delays = new Delays();
  #calmSinceUs = -Infinity;

  /** @param {number} delayUs a packet's samples were ready that long after their timestamp @param {number} nowUs */
  add(delayUs, nowUs) {
    this.#delays.add(delayUs, nowUs);
    if (this.#calmSinceUs === -Infinity) this.#calmSinceUs = nowUs;
    if (nowUs - this.#calmSinceUs < MARGIN_CALM_US) return;
    this.#calmSinceUs += 1_000_000;
    this.marginUs = Math.max(MARGIN_START_US, this.marginUs - MARGIN_STEP_US);
  }

  /** The ring ran dry, or a packet came after its place had been filled. @param {number} nowUs */
  underrun(nowUs) {
    this.marginUs = Math.min(MARGIN_MAX_US, this.marginUs + MARGIN_STEP_US);
    this.#calmSinceUs = nowUs;
  }

  /** @returns {number} delay from timestamp to the moment the worklet takes the sample */
  get delayUs() {
    const usual = this.#delays.percentile(0.5);
    return Math.min(this.#delays.percentile(NEARLY_ALL), usual + MAX_SPREAD_US) + this.marginUs;
  }

  reset() {
    this.#delays.reset();
  }
}

const NEAR_US = 2_000;
const STRETCH_US = 10_000; // from there on it is worth more than resampling can do
const RESAMPLED_PPM = 2_000; // four cents: not heard as another pitch
const FASTEST_PPM = 250_000;
const SLOWEST_PPM = -200_000;
const FAR_US = 700_000; // worth a jump: even so fast it would take too long

/**
 * What to do about a ring whose samples are taken so long after their timestamps: another speed, half of the difference
 * in less than a second. A little is resampled, more is stretched, until it fits again.
 */
export class Steering {
  #stretching = false;

  /**
   * @param {number} delayUs @param {number} wantedUs
   * @param {boolean} mayHold a listener asked for more delay; after a stall a pause would be a second one
   * @returns {{ratePpm: number, jumpUs: number}} a speed around natural, or a jump (positive: skip samples, negative: hold with silence)
   */
  judge(delayUs, wantedUs, mayHold) {
    const error = delayUs - wantedUs;
    const size = Math.abs(error);
    if (error > FAR_US || (mayHold && error < -FAR_US)) return { ratePpm: 0, jumpUs: error };
    this.#stretching = size > (this.#stretching ? NEAR_US : STRETCH_US);
    if (this.#stretching) return { ratePpm: Math.round(Math.max(SLOWEST_PPM, Math.min(FASTEST_PPM, error))), jumpUs: 0 };
    const ppm = Math.min(RESAMPLED_PPM, Math.max(0, size - NEAR_US) / 2);
    return { ratePpm: Math.round(Math.sign(error) * ppm), jumpUs: 0 };
  }
}
