/**
 * What is inside a video decoder: chunks go in in decoding order, pictures come out in the order of
 * their timestamps, and some never do. Pure; imports nothing.
 */

/** @typedef {{frame: {group: number, ptsUs: number}}} Chunk */

const REMEMBERED = 32; // swallowed ones that may come out after all

/** @template {Chunk} C */
export class Inside {
  /** Chunks whose picture was overtaken by a later one: the decoder has swallowed them. */
  swallowed = 0;
  /** Of those, how many came out after all. */
  outOfOrder = 0;
  /** @type {C[]} in decoding order */ #chunks = [];
  /** @type {C[]} of another instance, whose groups say nothing about those that follow */ #before = [];
  /** @type {number[]} timestamps */ #overtaken = [];

  get count() {
    return this.#before.length + this.#chunks.length;
  }

  /** What went in last. @returns {C | undefined} */
  get last() {
    return this.#chunks.at(-1) ?? this.#before.at(-1);
  }

  /** What goes in from now on is of another instance: its groups are counted anew. */
  part() {
    this.#before.push(...this.#chunks);
    this.#chunks = [];
  }

  /** @param {C} chunk */
  put(chunk) {
    this.#chunks.push(chunk);
  }

  /**
   * A picture came out. Pictures that are to be shown before it will not come any more; those of a
   * later group may, since a source that starts anew may count from anywhere.
   * @param {number} timestamp @returns {C | null} what it was made of; null: it is none of ours, or too late
   */
  take(timestamp) {
    const old = this.#before.findIndex(({ frame }) => frame.ptsUs === timestamp);
    if (old >= 0) {
      this.swallowed += old;
      return this.#before.splice(0, old + 1).at(-1) ?? null;
    }
    const found = this.#chunks.find(({ frame }) => frame.ptsUs === timestamp);
    if (!found) {
      if (this.#overtaken.includes(timestamp)) this.outOfOrder++;
      return null;
    }
    this.swallowed += this.#before.length;
    this.#before = [];
    /** @type {C[]} */ const kept = [];
    for (const chunk of this.#chunks) {
      if (chunk === found) continue;
      if (chunk.frame.ptsUs < timestamp && chunk.frame.group <= found.frame.group) this.#overtaken.push(chunk.frame.ptsUs);
      else kept.push(chunk);
    }
    this.swallowed += this.#chunks.length - kept.length - 1;
    this.#chunks = kept;
    this.#overtaken.splice(0, this.#overtaken.length - REMEMBERED);
    return found;
  }

  /** All of it is given up. @returns {number} how many that were */
  clear() {
    const { count } = this;
    this.#chunks = [];
    this.#before = [];
    this.#overtaken = [];
    return count;
  }
}
