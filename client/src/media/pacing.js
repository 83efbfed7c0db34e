/**
 * Which picture a display's refresh is to show, so that they follow each other evenly: at most one a refresh, each in
 * the one that is nearest to when it is due. Pure; imports nothing.
 */

const REMEMBERED = 16; // intervals
const ENOUGH = 4; // of them
const SHORTEST_US = 2_000; // between two refreshes; less is the same one
const LONGEST_US = 100_000; // then nothing was asked of it meanwhile
// Of what a picture is late or early, by which all later ones are moved; unlike, so that they do not stay between two refreshes.
const PULL_LATE = 0.06;
const PULL_EARLY = 0.03;
const MOST_SHIFT = 0.75; // of a refresh: more than half, so that it does not go back at once

export class Pacer {
  #lastUs = -Infinity;
  /** @type {number[]} */ #intervals = [];
  #shiftUs = 0; // of all pictures, so that none is due where two refreshes meet

  /** A refresh begins. @param {number} tickUs */
  tick(tickUs) {
    const interval = tickUs - this.#lastUs;
    this.#lastUs = tickUs;
    if (interval < SHORTEST_US || interval > LONGEST_US) return;
    this.#intervals.push(interval);
    if (this.#intervals.length > REMEMBERED) this.#intervals.shift();
  }

  /** Whether refreshes come, so that pictures may wait for them. @param {number} nowUs */
  steady(nowUs) {
    return this.#intervals.length >= ENOUGH && nowUs - this.#lastUs < LONGEST_US;
  }

  /** From one refresh to the next; some may have been left out meanwhile. */
  get periodUs() {
    return Math.min(...this.#intervals);
  }

  /**
   * @param {number[]} duesUs of the pictures that wait, in order
   * @param {number} tickUs when the refresh begins
   * @returns {number} how many of them leave: the last one is shown, those before are overtaken
   */
  choose(duesUs, tickUs) {
    const period = this.periodUs;
    const near = duesUs.filter((due) => due + this.#shiftUs < tickUs + period / 2).length;
    const first = (duesUs[0] ?? 0) + this.#shiftUs;
    // Where two meet, the second one has the next refresh, unless both are late.
    const leave = near > 2 || (near === 2 && tickUs - first > 1.5 * period) ? Math.max(1, near - 1) : Math.min(1, near);
    if (leave > 0) this.#pull(tickUs - /** @type {number} */ (duesUs[leave - 1]) - this.#shiftUs, period);
    return leave;
  }

  /** @param {number} lateUs @param {number} period */
  #pull(lateUs, period) {
    if (Math.abs(lateUs) > 2 * period) return; // it waited for something else
    this.#shiftUs += (lateUs > 0 ? PULL_LATE : PULL_EARLY) * lateUs;
    if (Math.abs(this.#shiftUs) > MOST_SHIFT * period) this.#shiftUs -= Math.sign(this.#shiftUs) * period;
  }

  reset() {
    this.#intervals = [];
    this.#lastUs = -Infinity;
  }
}
