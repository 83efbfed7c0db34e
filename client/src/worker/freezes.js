/**
 * Counts when the picture stood still though the source had another one: freezeCount of W3C's webrtc-stats. Pure.
 */

const FRAMES = 30; // that the usual duration is averaged over
const LONGER_US = 150_000;
const LEAST = 3; // frames before anything is judged

export class Freezes {
  count = 0;
  totalUs = 0;
  /** @type {number[]} µs from one picture to the next */ #durations = [];
  /** @type {{paintUs: number, ptsUs: number, missing: number} | null} */ #last = null;

  /**
   * A picture was painted.
   * @param {number} paintUs @param {number} ptsUs
   * @param {number} missing pictures in all that never came or were not shown: where there were none, the source had none
   */
  paint(paintUs, ptsUs, missing) {
    const last = this.#last;
    this.#last = { paintUs, ptsUs, missing };
    if (!last) return;
    const took = paintUs - last.paintUs;
    if (this.#durations.length >= LEAST) this.#judge(took, missing === last.missing ? ptsUs - last.ptsUs : 0);
    this.#durations.push(took);
    if (this.#durations.length > FRAMES) this.#durations.shift();
  }

  /** @param {number} took @param {number} sourceUs from one picture of the source to the next, where none is missing */
  #judge(took, sourceUs) {
    const average = this.#durations.reduce((sum, duration) => sum + duration, 0) / this.#durations.length;
    const usual = Math.max(average, sourceUs);
    if (took < Math.max(3 * usual, usual + LONGER_US)) return;
    this.count++;
    this.totalUs += took;
  }

  /** Nothing is to be seen for a while: what comes next has nothing to do with what was before. */
  pause() {
    this.#last = null;
    this.#durations = [];
  }
}
