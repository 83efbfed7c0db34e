/** For how long no new picture came around a change of the way. Pure. */

const AFTER_US = 1_000_000; // what follows a change within that time belongs to it

export class Gap {
  /** The longest time from one picture to the next around the last change. */ us = 0;
  /** @type {number | null} */ #lastUs = null;
  #untilUs = -Infinity;

  /** The way is changing, or has changed. @param {number} nowUs */
  around(nowUs) {
    if (nowUs > this.#untilUs) this.us = 0;
    this.#untilUs = nowUs + AFTER_US;
  }

  /** A picture was painted. @param {number} paintUs */
  paint(paintUs) {
    if (this.#lastUs !== null && this.#lastUs <= this.#untilUs) this.us = Math.max(this.us, paintUs - this.#lastUs);
    this.#lastUs = paintUs;
  }
}
