/**
 * Puts the frames of one track in order: streams finish in any order, decoders take only one.
 * Mirrors wtgateway/protocol/ordering.py, whose rules 1 to 6 it follows;
 * tests/vectors/ordering.json holds both to them. Pure: `nowUs` is any monotonic clock.
 */

/** @typedef {{group: number, index: number, keyframe: boolean, ptsUs: number, durationUs: number, payload: Uint8Array}} Orderable */

/** @param {{group: number, index: number}} a @param {{group: number, index: number}} b */
const compare = (a, b) => a.group - b.group || a.index - b.index;

const START = { group: -1, index: -1 };

/** @template {Orderable} F */
export class FrameOrder {
  counters = { received: 0, delivered: 0, late: 0, before: 0, duplicates: 0, discarded: 0, gaps: 0, keyframeRequests: 0 };
  /** @type {F[]} sorted */ #held = [];
  #heldBytes = 0;
  #begun = START;
  /** @type {F | null} */ #last = null;
  #firstUs = 0; // timestamp of the last group's beginning
  #largestUs = 0; // and the largest one delivered of it
  #reorders = false;
  /** @type {{group: number, index: number} | null} */ #lost = null;
  /** @type {{group: number, index: number}[]} */ #coming = [];
  /** @type {number | null} since when frames have been here and none followed */ #stalledAt = null;
  /** @type {number | null} */ #askedAt = null;
  #keyframeWanted = false;

  /**
   * @param {{independent?: boolean, patienceUs?: number, tailUs?: number, maxFrames?: number, maxBytes?: number}} [options]
   *   `independent` for sound, whose every frame can be decoded by itself
   */
  constructor({ independent = false, patienceUs = 150_000, tailUs = 15_000, maxFrames = 512, maxBytes = 32 * 2 ** 20 } = {}) {
    this.independent = independent;
    this.patienceUs = patienceUs;
    this.tailUs = tailUs;
    this.maxFrames = maxFrames;
    this.maxBytes = maxBytes;
  }

  /** How many frames are held back. */
  get held() {
    return this.#held.length;
  }

  /** @param {F} frame @param {number} nowUs @returns {F[]} the frames that can be decoded now, in order */
  push(frame, nowUs) {
    this.counters.received++;
    const behind = compare(frame, this.#last ?? START);
    const at = this.#place(frame);
    if (behind === 0 || (this.#held[at] && compare(/** @type {F} */ (this.#held[at]), frame) === 0)) {
      this.counters.duplicates++;
      return [];
    }
    if (behind < 0) {
      this.counters[compare(frame, this.#begun) < 0 ? 'before' : 'late']++;
      return [];
    }
    this.#held.splice(at, 0, frame);
    this.#heldBytes += frame.payload.length;
    if (this.#over()) this.#overflow();
    return this.advance(nowUs);
  }

  /** A frame will never come. @param {number} group @param {number} index @param {number} nowUs @returns {F[]} */
  lost(group, index, nowUs) {
    const position = { group, index };
    this.#coming = this.#coming.filter((coming) => compare(coming, position) !== 0);
    if (compare(position, this.#last ?? START) <= 0 || this.#held.some((f) => compare(f, position) === 0)) return [];
    if (!this.#lost || compare(position, this.#lost) < 0) this.#lost = position;
    const newest = this.#newestKeyframe();
    if (!this.independent && (!newest || newest.group <= group)) this.#ask(nowUs);
    return this.advance(nowUs);
  }

  /** A part of that frame is here: the rest may be waited for. @param {number} group @param {number} index */
  coming(group, index) {
    const position = { group, index };
    if (this.#coming.length >= this.maxFrames || compare(position, this.#last ?? START) <= 0) return;
    if (!this.#coming.some((coming) => compare(coming, position) === 0)) this.#coming.push(position);
  }

  /** Delivers what follows, and gives up waiting where time has run out. @param {number} nowUs @returns {F[]} */
  advance(nowUs) {
    /** @type {F[]} */ const out = [];
    this.#follow(out);
    while (this.#stalled(nowUs)) {
      const target = this.#target();
      if (!target) {
        this.#ask(nowUs);
        break;
      }
      if (this.#last) this.counters.gaps++;
      this.#deliver(target, out);
      this.#follow(out);
    }
    return out;
  }

  /** When advance() has something to do if nothing arrives; null: never. @returns {number | null} */
  nextTimeout() {
    if (this.#stalledAt === null) return null;
    const due = this.#stalledAt + this.#waitUs();
    return !this.#target() && this.#askedAt !== null ? Math.max(due, this.#askedAt + this.patienceUs) : due;
  }

  /** True once for each time that a keyframe must be asked for. */
  takeKeyframeRequest() {
    const wanted = this.#keyframeWanted;
    this.#keyframeWanted = false;
    return wanted;
  }

  /** @param {F} frame where it belongs among those held */
  #place(frame) {
    let at = this.#held.length;
    while (at > 0 && compare(/** @type {F} */ (this.#held[at - 1]), frame) >= 0) at--;
    return at;
  }

  /** @param {F[]} out */
  #follow(out) {
    for (let next = this.#following(); next; next = this.#following()) this.#deliver(next, out);
  }

  /** @returns {F | null} */
  #following() {
    const last = this.#last;
    if (!last) return this.#target();
    for (const frame of this.#held) {
      if (frame.group === last.group && frame.index === last.index + 1) return frame;
      if (frame.group > last.group && this.#begins(frame)) {
        const near = frame.ptsUs <= this.#largestUs + Math.floor((last.durationUs * 3) / 2);
        return near && this.#full(last) ? frame : null;
      }
    }
    return null;
  }

  /** Whether nothing seems to be missing at the end of the last group. @param {F} last */
  #full(last) {
    if (!this.#reorders || !last.durationUs) return true;
    return last.index * last.durationUs >= this.#largestUs - this.#firstUs - Math.floor(last.durationUs / 2);
  }

  /** @param {F} frame */
  #begins(frame) {
    return frame.index === 0 && (this.independent || frame.keyframe);
  }

  #newestKeyframe() {
    return this.#held.findLast((frame) => this.#begins(frame)) ?? null;
  }

  /** Where delivery goes on when it cannot go on where it stopped. */
  #target() {
    return this.independent ? this.#held[0] ?? null : this.#newestKeyframe();
  }

  /** @param {F} frame @param {F[]} out */
  #deliver(frame, out) {
    const at = this.#held.indexOf(frame);
    for (const old of this.#held.splice(0, at + 1)) this.#heldBytes -= old.payload.length;
    this.counters.discarded += at;
    if (this.#lost && compare(this.#lost, frame) <= 0) this.#lost = null;
    this.#coming = this.#coming.filter((coming) => compare(coming, frame) > 0);
    if (frame.keyframe) this.#askedAt = null;
    if (frame.group !== this.#last?.group) this.#firstUs = this.#largestUs = frame.ptsUs;
    if (!this.#last) this.#begun = { group: frame.group, index: frame.index };
    this.#reorders ||= !this.independent && frame.ptsUs < this.#largestUs;
    this.#largestUs = Math.max(this.#largestUs, frame.ptsUs);
    this.#last = frame;
    this.#stalledAt = null;
    this.#keyframeWanted = false;
    this.counters.delivered++;
    out.push(frame);
  }

  /** Whether frames are here, none follows, and the time to wait for one has run out. @param {number} nowUs */
  #stalled(nowUs) {
    if (!this.#held.length) {
      this.#stalledAt = null;
      return false;
    }
    this.#stalledAt ??= nowUs;
    return nowUs >= this.#stalledAt + this.#waitUs();
  }

  #waitUs() {
    const last = this.#last;
    if (!last) return this.patienceUs;
    const next = { group: last.group, index: last.index + 1 };
    if (this.#lost && compare(this.#lost, next) === 0) return 0;
    const newer = this.#held.some((f) => f.group > last.group && this.#begins(f));
    const more = this.#held[0]?.group === last.group || this.#coming.some((coming) => compare(coming, next) === 0);
    return newer && !more ? this.tailUs : this.patienceUs;
  }

  /** @param {number} nowUs */
  #ask(nowUs) {
    if (this.#askedAt !== null && nowUs < this.#askedAt + this.patienceUs) return;
    this.#askedAt = nowUs;
    this.#keyframeWanted = true;
    this.counters.keyframeRequests++;
  }

  #over() {
    return this.#held.length > this.maxFrames || this.#heldBytes > this.maxBytes;
  }

  #overflow() {
    const keep = this.#newestKeyframe();
    this.#discard(keep ? this.#held.indexOf(keep) : this.#held.length);
    if (this.#over()) this.#discard(this.#held.length);
  }

  /** @param {number} count oldest frames */
  #discard(count) {
    for (const old of this.#held.splice(0, count)) this.#heldBytes -= old.payload.length;
    this.counters.discarded += count;
  }
}
