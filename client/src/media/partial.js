/**
 * A frame that has not wholly come in datagrams: what is here of it, what is missing, and since when.
 * Part of media/reassembly.js, which has the rules; mirrors wtgateway/protocol/partial.py. Pure; all times
 * are of one monotonic clock.
 */

import { recover } from './fec.js';
import { MAX_PROTECTED } from './fragments.js';
import { WHOLE } from './nacks.js';
import { decodeHeader, FRAME_HEADER_BYTES, WireError } from './wire.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('./fragments.js').Fragment} Fragment */
/** @typedef {{track: number, rendition: number, group: number, index: number}} Name */

const OVERHEAD_BYTES = 64; // what keeping a piece, or a frame, counts besides its bytes
export const MAX_ASKED = 6;
const REPEAT_US = 6_000; // after the last wish that can be granted in time it is said once more
const LEAST_QUIET_US = 8_000;
const FIRST_DISTANCE_US = 10_000; // as on a path of 1 Mbit/s, before it is known: a wish too many slows it down
const LONGEST_DISTANCE_US = 50_000;
const QUIET_DISTANCES = 4;
const PATIENCE_RTT = 2;
const MOST_PATIENCE_US = 150_000;
const PAUSE_FADES = 128; // by so much of itself with each piece
const MALFORMED = 0x10;

const quarter = (/** @type {number} */ us) => Math.floor(us / 4);

/** What a receiver goes by when it asks. */
export class PathTimes {
  /** Between the pieces of a frame, in the mean. */ distanceUs = FIRST_DISTANCE_US;
  /** The longest between them lately: others' packets come between, or the sender has to wait. */ pauseUs = 0;

  /** @param {number} rttUs @param {number} reorderUs a piece may be so much later than one that was sent after it */
  constructor(rttUs, reorderUs) {
    this.rttUs = rttUs;
    this.reorderUs = reorderUs;
  }

  /** Pieces of a frame came so long after each other. @param {number} distanceUs */
  noteDistance(distanceUs) {
    const distance = Math.min(distanceUs, LONGEST_DISTANCE_US);
    this.distanceUs += Math.floor((distance - this.distanceUs) / 8);
    this.pauseUs = Math.max(distance, this.pauseUs - Math.floor(this.pauseUs / PAUSE_FADES));
  }

  /** After so long without an answer it is asked again. */
  get againUs() {
    return this.rttUs + this.answeringUs;
  }

  /**
   * What the rest of a group needs is waited for so long beyond its deadline. A keyframe in its place takes as
   * long to come, and many times the bytes: where the path is full that is the next loss.
   */
  get patienceUs() {
    return Math.min(PATIENCE_RTT * this.rttUs, MOST_PATIENCE_US);
  }

  /** The pieces of an answer follow each other within this. */
  get answeringUs() {
    return quarter(this.rttUs) + 5_000;
  }
}

/**
 * Data fragments `first` to `last` are not here. `dueUs` is when they are to be asked for; null while nothing
 * tells that they should be here, which can only be so at the end of a frame.
 * @typedef {object} Hole
 * @property {number} first
 * @property {number} last
 * @property {number | null} dueUs
 * @property {number | null} knownUs
 * @property {number} askedUs
 * @property {number} times asked
 * @property {boolean} lastWish there is no time for another
 */

/** @param {number} first @param {number} last @returns {Hole} */
const newHole = (first, last) => ({ first, last, dueUs: null, knownUs: null, askedUs: 0, times: 0, lastWish: false });

/**
 * It is asked for. The last wish that can be granted in time is said twice: the first may be lost.
 * @param {Hole} hole @param {number} nowUs @param {number} deadlineUs @param {PathTimes} path
 */
export function askFor(hole, nowUs, deadlineUs, path) {
  const againUs = nowUs + path.againUs;
  const inTime = againUs + path.rttUs < deadlineUs;
  hole.times = hole.lastWish ? MAX_ASKED : hole.times + 1;
  hole.lastWish = !inTime;
  hole.askedUs = nowUs;
  hole.dueUs = inTime ? againUs : nowUs + REPEAT_US;
}

/** `count` is 0 as long as nothing of the frame is here: others told that it must exist. */
export class PartialFrame {
  /** @type {number | null} since when something of a later frame is here */ laterUs = null;
  objectBytes = 0;
  count = 0;
  pieceBytes = 0;
  keyframe = false; // as its first piece said
  discardable = false; // the same
  /** Begun on a stream, which needs no asking. */ onStream = false;
  /** What told of it was too late itself: the sender does not go by its capture. */ belated = false;
  heldBytes = OVERHEAD_BYTES;
  receivedBytes = 0; // data, not parity
  /** @type {Map<number, Uint8Array>} */ pieces = new Map();
  /** @type {Map<number, Uint8Array>} */ rows = new Map();
  /** @type {Hole[]} */ holes = [];

  /** @param {Name} name @param {number} captureUs @param {number} nowUs first piece, or news that it exists */
  constructor(name, captureUs, nowUs) {
    this.name = name;
    this.captureUs = captureUs;
    this.firstUs = this.lastUs = nowUs;
  }

  /** How many data fragments are not here. */
  get lacking() {
    return this.count - this.pieces.size;
  }

  get complete() {
    return this.count > 0 && this.lacking <= this.rows.size;
  }

  /** Nothing is here, at a certain time it must have been sent. @param {number} nowUs @param {PathTimes} path */
  missAll(nowUs, path) {
    this.holes = [{ ...newHole(0, WHOLE), dueUs: nowUs + path.reorderUs, knownUs: nowUs }];
  }

  /** Whether a fragment's layout is that of the first one; the first one decides. @param {Fragment} fragment */
  fits({ objectBytes, count, pieceBytes, captureUs, keyframe, discardable }) {
    if (this.count === 0) {
      Object.assign(this, { objectBytes, count, pieceBytes, captureUs, keyframe, discardable });
      const [asked] = this.holes;
      this.holes = [{ ...(asked?.times ? asked : newHole(0, 0)), first: 0, last: count - 1 }];
    }
    return this.objectBytes === objectBytes && this.count === count && this.pieceBytes === pieceBytes;
  }

  /**
   * Keeps what is new.
   * @param {Fragment} fragment @param {number} nowUs @param {PathTimes} path
   * @returns {number | null} by how much a piece was later than one behind it, if it came without being asked
   *   for; 0 if it was in order, or asked for; null if it is here already
   */
  add({ parity, number, data }, nowUs, path) {
    const kept = parity ? this.rows : this.pieces;
    if (kept.has(number)) return null;
    const beforeUs = this.pieces.size || this.rows.size ? this.lastUs : null;
    if (beforeUs === null) this.firstUs = nowUs;
    this.lastUs = nowUs;
    kept.set(number, data);
    this.heldBytes += data.length + OVERHEAD_BYTES;
    if (parity) return this.#endIsNear(nowUs, path);
    this.receivedBytes += data.length;
    return this.#fill(number, nowUs, beforeUs, path);
  }

  /** Parity is sent behind all fragments: those missing at the end are known now. @param {number} nowUs @param {PathTimes} path */
  #endIsNear(nowUs, path) {
    for (const hole of this.holes) {
      if (hole.dueUs !== null) continue;
      hole.knownUs = nowUs;
      hole.dueUs = nowUs + path.reorderUs;
    }
    return 0;
  }

  /**
   * Takes a piece out of the hole it was missing in.
   * @param {number} number @param {number} nowUs @param {number | null} beforeUs when the one before it came @param {PathTimes} path
   */
  #fill(number, nowUs, beforeUs, path) {
    const place = this.holes.findIndex(({ first, last }) => first <= number && number <= last);
    const hole = /** @type {Hole} */ (this.holes[place]);
    const before = { ...hole, last: number - 1 };
    const behind = { ...hole, first: number + 1 };
    if (hole.dueUs === null) {
      before.knownUs = nowUs;
      before.dueUs = nowUs + path.reorderUs;
    } else { // those behind it are likely to be on their way, too
      behind.dueUs = Math.max(hole.dueUs, nowUs + (hole.times ? path.answeringUs : path.reorderUs));
    }
    this.holes.splice(place, 1, ...[before, behind].filter(({ first, last }) => first <= last));
    const unasked = hole.times === 0 || (hole.times === 1 && nowUs < hole.askedUs + Math.floor(path.rttUs / 2));
    if (beforeUs !== null && unasked) path.noteDistance(nowUs - beforeUs);
    return hole.knownUs !== null && unasked ? nowUs - hole.knownUs : 0;
  }

  /**
   * All holes, and when each is to be asked for.
   * @param {number} expectedRows of parity @param {PathTimes} path @returns {{hole: Hole, dueUs: number}[]}
   */
  due(expectedRows, path) {
    const known = this.holes.reduce((sum, { first, last, dueUs }) => sum + (dueUs === null ? 0 : last - first + 1), 0);
    return this.holes.map((hole) => {
      const dueUs = hole.dueUs ?? this.#endDueUs(path);
      const missing = hole.dueUs === null ? this.lacking : known;
      const mendable = hole.times === 0 && this.count > 0 && this.count <= MAX_PROTECTED && missing <= expectedRows;
      if (!mendable) return { hole, dueUs };
      // Parity like that of the last frames will do: it comes behind the fragments.
      const sinceUs = hole.knownUs ?? this.lastUs;
      return { hole, dueUs: Math.max(dueUs, Math.min(this.lastUs, sinceUs + quarter(path.rttUs)) + path.reorderUs) };
    });
  }

  /** When the end of the frame is to be asked for if nothing more comes of it. @param {PathTimes} path */
  #endDueUs({ distanceUs, pauseUs, reorderUs }) {
    const steps = Math.max(1, this.pieces.size + this.rows.size - 1);
    const distance = Math.max(Math.floor((this.lastUs - this.firstUs) / steps), distanceUs);
    const quiet = this.lastUs + Math.max(LEAST_QUIET_US, reorderUs, QUIET_DISTANCES * distance, pauseUs);
    return this.laterUs === null ? quiet : Math.min(quiet, Math.max(this.laterUs, this.lastUs) + reorderUs);
  }

  /** First and last for a NACK. @param {Hole} hole */
  rangeOf({ first, last }) {
    return this.count ? { first, last } : { first: 0, last: WHOLE };
  }

  /**
   * The frame; call it when `complete`.
   * @param {number} nowUs @returns {Frame}
   * @throws {WireError} what came together is not the frame object that the fragments said
   */
  assemble(nowUs) {
    const { count, pieceBytes, objectBytes, name } = this;
    const made = this.lacking ? recover(this.pieces, this.rows, count, pieceBytes) : this.pieces;
    const object = new Uint8Array(count * pieceBytes); // with the padding of the last piece, where that was made
    for (let number = 0; number < count; number++) {
      object.set(/** @type {Uint8Array} */ (this.pieces.get(number) ?? made.get(number)), number * pieceBytes);
    }
    const { frame, payloadBytes } = decodeHeader(new DataView(object.buffer));
    const same = frame.track === name.track && frame.rendition === name.rendition && frame.group === name.group && frame.index === name.index;
    if (!same || payloadBytes !== objectBytes - FRAME_HEADER_BYTES) throw new WireError(MALFORMED, 'fragments make another frame than they said');
    frame.payload = object.subarray(FRAME_HEADER_BYTES, objectBytes);
    frame.firstByteUs = this.firstUs;
    frame.arrivalUs = nowUs;
    return frame;
  }
}
