/**
 * How many more handshakes may be tried. Chromium makes each page wait before a CONNECT after others have failed or were
 * given up: some 10 ms times 2^n after n of them within five minutes (measured: 0.2 s after four, 2.4 s after eight; none
 * in Firefox). Who tries on and on makes itself wait for minutes, just when the network is back. Pure: `nowUs` is any
 * monotonic clock.
 */

export const WINDOW_US = 300_000_000;
export const MAX_FAILED = 8; // the last that is tried waits for 1.3 s

export class Attempts {
  /** @type {number[]} when the last of them failed */ #failedUs = [];
  #most;

  /** @param {number} [most] failures within the window */
  constructor(most = MAX_FAILED) {
    this.#most = most;
  }

  /** @param {number} nowUs */
  failed(nowUs) {
    this.#failedUs.push(nowUs);
    if (this.#failedUs.length > this.#most) this.#failedUs.shift();
  }

  /** Whether another one is worth it. @param {number} nowUs */
  allowed(nowUs) {
    return this.#failedUs.filter((us) => nowUs < us + WINDOW_US).length < this.#most;
  }
}
