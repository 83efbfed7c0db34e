/**
 * One rendition of a track as media/reassembly.js sees it. Mirrors wtgateway/protocol/lane.py. Pure; imports nothing.
 */

/** @typedef {import('./partial.js').Name} Name */
/** @typedef {{group: number, index: number}} Position */

const MAX_DONE = 256; // frames that are remembered as done with; what is older is refused
const LEAST_OVERDUE_US = 8_000;
const MOST_JITTER_US = 100_000;
const CATCH_UP = 3; // times what a keyframe took: a path that carries 4/3 of what is sent is level again by then
const MOST_CATCH_UP_US = 1_000_000;
const PARITY_LASTS = 2; // frames without parity after which none is expected

/** @param {Position} a @param {Position} b */
export const compare = (a, b) => a.group - b.group || a.index - b.index;

/** @param {Name} name */
export const keyOf = ({ track, rendition, group, index }) => `${track}:${rendition}:${group}:${index}`;

/** What is known of the frames of one rendition of a track, whole or not. */
export class Lane {
  /** @type {Map<string, {at: Position, whole: boolean}>} complete or given up */ #done = new Map();
  /** @type {Position} up to here all counts as done */ #floor = { group: -1, index: -1 };
  /** @type {Set<string>} */ #streaming = new Set();
  /** Between the captures of frames that follow each other, lately; 0: not known. */ distanceUs = 0;
  /** The newest came in them. */ inDatagrams = false;
  /** Frames need those before them, unlike sound. */ chained = false;
  /** Of arrivals (RFC 3550, section 6.4.1). */ jitterUs = 0;
  /** @type {number | null} the one after the newest was asked for before anything told of it */ overdueAskedUs = null;
  expectedRows = 0;
  framesSinceParity = 0;
  /** @type {Position} */ #parityOf = { group: -1, index: -1 };
  /** The newest keyframe: its group, when it began to come and was here. */ #keyframe = { group: -1, firstUs: 0, lastUs: 0 };

  /** @param {Position} newest @param {number} captureUs @param {number} nowUs when it was first heard of */
  constructor(newest, captureUs, nowUs) {
    this.newest = newest;
    this.newestCaptureUs = captureUs;
    this.newestUs = nowUs;
  }

  /**
   * Something of a frame that is newer than all others is here.
   * @param {Position} position @param {number} captureUs @param {boolean} inDatagrams @param {number} nowUs
   */
  advance(position, captureUs, inDatagrams, nowUs) {
    const between = position.group === this.newest.group ? position.index - this.newest.index : 0;
    const distance = between ? Math.floor((captureUs - this.newestCaptureUs) / between) : 0;
    if (this.overdueAskedUs === null) {
      const late = Math.abs(nowUs - this.newestUs - (captureUs - this.newestCaptureUs));
      this.jitterUs += Math.floor((Math.min(late, MOST_JITTER_US) - this.jitterUs) / 16);
    }
    if (distance > 0 && this.distanceUs) {
      // A pause of the source says little about what is usual.
      this.distanceUs += Math.floor((Math.min(distance, 2 * this.distanceUs) - this.distanceUs) / 8);
    } else if (distance > 0) {
      this.distanceUs = distance;
    }
    this.newest = position;
    this.newestCaptureUs = captureUs;
    this.newestUs = nowUs;
    this.inDatagrams = inDatagrams;
    this.overdueAskedUs = null;
    this.framesSinceParity++;
    if (this.framesSinceParity > PARITY_LASTS) this.expectedRows = 0;
  }

  /**
   * A keyframe came, from its first to its last piece; where it is told of twice, the first time counts as well.
   * @param {number} group @param {number} firstUs @param {number} lastUs
   */
  noteKeyframe(group, firstUs, lastUs) {
    const known = this.#keyframe;
    this.#keyframe = { group, firstUs: group === known.group ? Math.min(firstUs, known.firstUs) : firstUs, lastUs };
  }

  /** Until when frames that had to wait for the keyframe of `group` are worth something; 0: for none. @param {number} group @param {number} deadlineUs */
  caughtUpUs(group, deadlineUs) {
    const { group: newest, firstUs, lastUs } = this.#keyframe;
    return group === newest ? lastUs + deadlineUs + Math.min(CATCH_UP * (lastUs - firstUs), MOST_CATCH_UP_US) : 0;
  }

  /** When the frame after the newest is later than frames usually are; null: not known, or asked for. */
  get overdueUs() {
    if (!this.inDatagrams || !this.distanceUs || this.overdueAskedUs !== null) return null;
    return this.newestUs + this.distanceUs + Math.max(LEAST_OVERDUE_US, 4 * this.jitterUs);
  }

  /** @param {Name} name @param {boolean} whole false: it is given up */
  finish(name, whole) {
    const key = keyOf(name);
    this.#done.set(key, { at: name, whole });
    this.#streaming.delete(key);
    const [oldest] = this.#done;
    if (this.#done.size <= MAX_DONE || !oldest) return;
    this.#done.delete(oldest[0]);
    if (compare(oldest[1].at, this.#floor) > 0) this.#floor = oldest[1].at;
  }

  /** Whether it was complete. @param {Name} name */
  hasWhole(name) {
    return this.#done.get(keyOf(name))?.whole ?? false;
  }

  /** @param {Name} name */
  stream(name) {
    this.#streaming.add(keyOf(name));
    if (this.#streaming.size > MAX_DONE) this.#streaming.delete(/** @type {string} */ (this.#streaming.values().next().value));
  }

  /** @param {Name} name */
  isDone(name) {
    return compare(name, this.#floor) <= 0 || this.#done.has(keyOf(name));
  }

  /** @param {Name} name */
  isStreaming(name) {
    return this.#streaming.has(keyOf(name));
  }

  /** @param {Position} position @param {number} row */
  noteParity(position, row) {
    const later = compare(position, this.#parityOf);
    if (later < 0) return;
    this.expectedRows = later === 0 ? Math.max(this.expectedRows, row + 1) : row + 1;
    this.#parityOf = { group: position.group, index: position.index };
    this.framesSinceParity = 0;
  }
}
