/**
 * How long to wait before the next attempt: exponential with jitter, so that a thousand pages do
 * not come back in the same millisecond. Pure: randomness is an argument.
 */

export class Backoff {
  attempts = 0;

  /** @param {{firstMs?: number, factor?: number, maxMs?: number, random?: () => number}} [options] */
  constructor({ firstMs = 200, factor = 1.8, maxMs = 8000, random = Math.random } = {}) {
    this.firstMs = firstMs;
    this.factor = factor;
    this.maxMs = maxMs;
    this.random = random;
  }

  /** The next pause in ms: between half and all of the step, which grows up to `maxMs`. @param {number} [leastMs] */
  next(leastMs = 0) {
    const step = Math.min(this.maxMs, this.firstMs * this.factor ** this.attempts++);
    return Math.max(leastMs, Math.round(step * (0.5 + this.random() / 2)));
  }

  reset() {
    this.attempts = 0;
  }
}
