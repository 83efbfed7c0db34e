/** Small statistics over sliding windows. Pure; imports nothing. */

/**
 * @param {ArrayLike<number>} sorted ascending @param {number} share 0..1
 * @returns {number} 0 when empty
 */
export function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** The last values, at most `size` of them and none older than `windowMs`. */
export class Window {
  /** @type {number[]} */ #values = [];
  /** @type {number[]} */ #times = [];
  #old = 0; // how many at the front have left the window
  /** @type {Float64Array | null} */ #sorted = null;

  /** @param {number} windowMs @param {number} [size] */
  constructor(windowMs, size = 1024) {
    this.windowMs = windowMs;
    this.size = size;
  }

  /** @param {number} value @param {number} nowMs */
  add(value, nowMs) {
    this.#values.push(value);
    this.#times.push(nowMs);
    this.#sorted = null;
    this.#old = Math.max(this.#old, this.#values.length - this.size);
    while (/** @type {number} */ (this.#times[this.#old]) < nowMs - this.windowMs) this.#old++;
    if (this.#old <= 64) return; // cut in batches: a shift for every value would move the whole array
    this.#values.splice(0, this.#old);
    this.#times.splice(0, this.#old);
    this.#old = 0;
  }

  get count() {
    return this.#values.length - this.#old;
  }

  get last() {
    return this.#values.at(-1) ?? 0;
  }

  /** @param {number} share 0..1 */
  percentile(share) {
    this.#sorted ??= Float64Array.from(this.#values.slice(this.#old)).sort();
    return percentile(this.#sorted, share);
  }

  clear() {
    this.#values = [];
    this.#times = [];
    this.#old = 0;
    this.#sorted = null;
  }
}

/** Sum of amounts in the last second or so. */
export class Rate {
  /** @type {{ms: number, amount: number}[]} */ #slots = [];

  /** @param {number} [windowMs] @param {number} [slotMs] */
  constructor(windowMs = 1000, slotMs = 20) {
    this.windowMs = windowMs;
    this.slotMs = slotMs;
  }

  /** @param {number} amount @param {number} nowMs */
  add(amount, nowMs) {
    const last = this.#slots.at(-1);
    if (last && nowMs - last.ms < this.slotMs) last.amount += amount;
    else this.#slots.push({ ms: nowMs, amount });
    this.#expire(nowMs);
  }

  /** @param {number} nowMs @returns {number} per second */
  perSecond(nowMs) {
    this.#expire(nowMs);
    return (this.#slots.reduce((sum, slot) => sum + slot.amount, 0) * 1000) / this.windowMs;
  }

  /** @param {number} nowMs */
  #expire(nowMs) {
    while (this.#slots[0] && this.#slots[0].ms <= nowMs - this.windowMs) this.#slots.shift();
  }
}

/** The last `size` items, oldest first. @template T */
export class Recent {
  /** @type {T[]} */ #items = [];

  /** @param {number} size */
  constructor(size) {
    this.size = size;
  }

  /** @param {T} item */
  push(item) {
    this.#items.push(item);
    if (this.#items.length >= this.size * 2) this.#items.splice(0, this.size);
  }

  /** @returns {T[]} */
  list() {
    return this.#items.slice(-this.size);
  }
}
