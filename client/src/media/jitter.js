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
const MARGIN_MAX_US = 40_000;
const MAX_SPREAD_US = 120_000; // what is later than that is cheaper to lose than to wait for
const MARGIN_CALM_US = 3_000_000; // without an underrun for so long: a little less every second

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

/** The delay that the sound needs: that of nearly all packets, and a margin that learns from underruns. */
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
    this.marginUs = Math.max(MARGIN_START_US, this.marginUs - MARGIN_STEP_US / 2);
  }

  /** The ring ran dry. @param {number} nowUs */
  underrun(nowUs) {
    this.marginUs = Math.min(MARGIN_MAX_US, this.marginUs + MARGIN_STEP_US);
    this.#calmSinceUs = nowUs;
  }

  /** @returns {number} delay from timestamp to the moment the worklet takes the sample */
  get delayUs() {
    const usual = this.#delays.percentile(0.5);
    return Math.min(this.#delays.percentile(0.95), usual + MAX_SPREAD_US) + this.marginUs;
  }

  reset() {
    this.#delays.reset();
  }
}

const NEAR_US = 3_000;
const FAR_US = 90_000; // worth a jump: steering would take too long
const MAX_RATE_PPM = 15_000; // a quarter of a semitone, and only while far off

/**
 * What to do about a ring whose samples are taken `delayUs` after their timestamps when it should
 * be `wantedUs`: a speed in ppm, or a jump (positive: skip samples, negative: hold with silence).
 * To hold is worth it only when a listener asked for more delay: after a stall it would be a second one.
 * @param {number} delayUs @param {number} wantedUs @param {boolean} mayHold
 * @returns {{ratePpm: number, jumpUs: number}}
 */
export function steer(delayUs, wantedUs, mayHold) {
  const error = delayUs - wantedUs;
  if (error > FAR_US || (mayHold && error < -FAR_US)) return { ratePpm: 0, jumpUs: error };
  if (Math.abs(error) < NEAR_US) return { ratePpm: 0, jumpUs: 0 };
  const ppm = Math.round((error - Math.sign(error) * NEAR_US) / 4); // 20 ms late: 0.4 %
  return { ratePpm: Math.max(-MAX_RATE_PPM, Math.min(MAX_RATE_PPM, ppm)), jumpUs: 0 };
}
