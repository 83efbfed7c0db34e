/**
 * When things are due, by latency mode. All in delays (local time minus timestamp), see jitter.js.
 *
 * asap: the picture as soon as it is decoded; the sound as soon as its jitter allows.
 * sync: the sound is the master clock; a picture is shown when its sound is heard. The sound waits
 *       for the picture if that is the slower of the two.
 * smooth: as sync, but the sound is steered to a fixed delay from capture.
 *
 * The delay of pictures never leaps: where another is due, they come a little faster or slower until it is reached, so
 * that a change of mode is neither a freeze nor a skip.
 */

import { Delays } from '../media/jitter.js';

/** @typedef {import('../types.js').LatencyMode} LatencyMode */
/** @typedef {import('../media/clock.js').ClockSync} ClockSync */

const SLEW = 0.4; // of natural speed
const PAINT_MARGIN_US = 2_000;
const MAX_DELAY_SPREAD_US = 1_500_000; // a broadcast whose tracks are further apart is not synchronised by waiting

export class Timeline {
  /** @type {LatencyMode} */ mode = 'asap';
  smoothDelayUs = 500_000;
  /** Delay at which sound is heard, null while none is. @type {number | null} */ heardDelayUs = null;
  /** How long pictures take until they are decoded. */ pictures = new Delays();

  /** By which pictures are due; null: none is held back. @type {number | null} */ #delayUs = null;
  #slewedUs = 0;

  /** @param {() => ClockSync} clock of the current session */
  constructor(clock) {
    this.clock = clock;
  }

  /** @param {number} ptsUs @param {number} now @returns {number} local µs; not after `now`: at once */
  pictureDue(ptsUs, now) {
    const wanted = this.mode === 'asap' ? this.pictures.percentile(0.5) : this.#pictureDelay();
    if (this.mode === 'asap' && (this.#delayUs === null || this.#delayUs <= wanted)) {
      this.#delayUs = null;
      return now;
    }
    return ptsUs + this.#slew(wanted, now);
  }

  /** @param {number} wanted @param {number} now */
  #slew(wanted, now) {
    if (this.#delayUs === null) {
      this.#delayUs = this.pictures.known ? this.pictures.percentile(0.5) : wanted; // as they came until now
      this.#slewedUs = now;
    }
    const most = Math.max(0, now - this.#slewedUs) * SLEW; // a display's refresh is told of a little later
    this.#slewedUs = Math.max(now, this.#slewedUs);
    const step = wanted - this.#delayUs;
    this.#delayUs += Math.abs(step) > MAX_DELAY_SPREAD_US ? step : Math.max(-most, Math.min(most, step));
    return this.#delayUs;
  }

  #pictureDelay() {
    const needed = this.pictures.percentile(0.95) + PAINT_MARGIN_US;
    if (this.heardDelayUs !== null && Math.abs(this.heardDelayUs - needed) < MAX_DELAY_SPREAD_US) return this.heardDelayUs;
    return Math.max(needed, this.#fixedDelay());
  }

  /** What `smooth` aims at as a delay; nothing otherwise. */
  #fixedDelay() {
    if (this.mode !== 'smooth' || !this.clock().ready) return -Infinity;
    return this.smoothDelayUs - this.clock().offsetUs;
  }

  /**
   * @param {number} neededUs delay at which nearly all samples are there in time
   * @param {number} outputUs from the worklet to the ear
   * @returns {number} delay at which the worklet should take samples
   */
  soundDelay(neededUs, outputUs) {
    if (this.mode === 'asap') return neededUs;
    let wanted = Math.max(neededUs, this.#fixedDelay() - outputUs);
    if (this.pictures.known) wanted = Math.max(wanted, this.pictures.percentile(0.95) + PAINT_MARGIN_US - outputUs);
    return Math.min(wanted, neededUs + MAX_DELAY_SPREAD_US);
  }

  newSession() {
    this.pictures.reset();
    this.#delayUs = null;
  }
}
