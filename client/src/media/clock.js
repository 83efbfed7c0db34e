/**
 * How far the gateway's clock is ahead of ours, from pings: the sample with the least round trip
 * wins, as in NTP (RFC 5905, section 8). Mirrors wtgateway/protocol/clock_sync.py;
 * tests/vectors/clock.json holds both to the same figures. Pure; imports nothing.
 */

export const WINDOW_US = 15_000_000; // a browser's clock may drift by 50 ppm: under a millisecond in this time
export const MAX_SAMPLES = 64;

/** @typedef {{arrivalUs: number, offsetUs: number, rttUs: number}} Sample */

export class ClockSync {
  rejected = 0;
  /** @type {Sample[]} */ #samples = [];
  /** @type {Sample | null} */ #best = null;

  /** @param {number} [windowUs] */
  constructor(windowUs = WINDOW_US) {
    this.windowUs = windowUs;
  }

  /** True once there is an estimate. */
  get ready() {
    return this.#best !== null;
  }

  /** Gateway clock minus local clock; 0 before the first sample. */
  get offsetUs() {
    return this.#best?.offsetUs ?? 0;
  }

  /** The round trip of the sample in use; the estimate is off by at most half of it. */
  get rttUs() {
    return this.#best?.rttUs ?? 0;
  }

  /**
   * Takes in one pong that arrived at `arrivalUs`; false (and counted) if it makes no sense.
   * @param {number} clientUs local @param {number} receivedUs gateway's @param {number} sentUs gateway's
   * @param {number} arrivalUs local
   */
  add(clientUs, receivedUs, sentUs, arrivalUs) {
    const rttUs = (arrivalUs - clientUs) - (sentUs - receivedUs);
    if (arrivalUs < clientUs || sentUs < receivedUs || rttUs < 0) {
      this.rejected++;
      return false;
    }
    const offsetUs = Math.floor(((receivedUs - clientUs) + (sentUs - arrivalUs)) / 2);
    this.#samples.push({ arrivalUs, offsetUs, rttUs });
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
    this.#samples = this.#samples.filter((sample) => sample.arrivalUs >= arrivalUs - this.windowUs);
    // Of equals the newest: it is the least touched by drift.
    this.#best = this.#samples.reduce((best, sample) => (sample.rttUs <= best.rttUs ? sample : best));
    return true;
  }

  /** A local reading in gateway time. @param {number} localUs */
  toGateway(localUs) {
    return localUs + this.offsetUs;
  }
}
