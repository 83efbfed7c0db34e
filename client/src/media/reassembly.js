/**
 * Puts fragments together again, and knows what to ask for: the receiving side of datagram delivery.
 * Mirrors wtgateway/protocol/reassembly.py, whose rules 1 to 7 it follows; tests/vectors/reassembly.json
 * holds both to them. Pure: `nowUs` is any monotonic clock.
 */

import { compare, keyOf, Lane } from './lane.js';
import { WHOLE } from './nacks.js';
import { askFor, MAX_ASKED, PartialFrame, PathTimes } from './partial.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('./fragments.js').Fragment} Fragment */
/** @typedef {import('./nacks.js').NackEntry} NackEntry */
/** @typedef {import('./partial.js').Name} Name */

const MAX_ABSENT = 32; // frames of which nothing is here, known by one later one
const MAX_LANES = 32;
const LEAST_REORDER_US = 3_000;
const LOSSES_LAST_US = 10_000_000; // after the last loss frames are asked for that are merely overdue
const KEYFRAME_US = 2_000_000; // for which pieces of a keyframe may go on coming
const FIRST_RTT_US = 100_000; // before it is known

/** All of a session's datagrams in, whole frames out. */
export class Reassembly {
  /** What became of what came; `recovered` counts frames, `mended` the fragments that parity made up for. */
  counters = {
    fragments: 0, parity: 0, duplicates: 0, mismatched: 0, completed: 0, recovered: 0, mended: 0, asked: 0, expired: 0, displaced: 0,
  };
  /** @type {number | null} gateway time minus the clock of `nowUs` */ clockOffsetUs = null;
  #path = new PathTimes(FIRST_RTT_US, LEAST_REORDER_US);
  /** @type {Map<string, PartialFrame>} in the order in which they began */ #frames = new Map();
  #heldBytes = 0;
  /** @type {Map<string, Lane>} */ #lanes = new Map();
  /** @type {Name[]} */ #lost = [];
  /** @type {number | null} when something was asked for last */ #missedUs = null;

  /** @param {{deadlineUs?: number, maxFrames?: number, maxBytes?: number}} [options] `deadlineUs`: the subscriptions' */
  constructor({ deadlineUs = 500_000, maxFrames = 128, maxBytes = 16 * 2 ** 20 } = {}) {
    this.deadlineUs = deadlineUs;
    this.maxFrames = maxFrames;
    this.maxBytes = maxBytes;
  }

  /** Frames that are not complete. */
  get heldFrames() {
    return this.#frames.size;
  }

  /** What they take, some overhead for each piece included. */
  get heldBytes() {
    return this.#heldBytes;
  }

  /** By how much pieces may be out of order before they count as lost. */
  get reorderUs() {
    return this.#path.reorderUs;
  }

  /** What is here of a frame that is not complete. @param {Name} name */
  partial(name) {
    return this.#frames.get(keyOf(name));
  }

  /** What is known of the path now. Without `reorderUs` what was measured fades with each call. @param {number} rttUs @param {number} [reorderUs] */
  setPath(rttUs, reorderUs = this.reorderUs - Math.floor((this.reorderUs - LEAST_REORDER_US) / 8)) {
    const most = Math.max(LEAST_REORDER_US, Math.floor(rttUs / 4));
    this.#path.rttUs = rttUs;
    this.#path.reorderUs = Math.min(Math.max(reorderUs, LEAST_REORDER_US), most);
  }

  /**
   * Takes in a fragment or parity row.
   * @param {Fragment} fragment @param {number} nowUs
   * @returns {Frame | null} the frame that it completes
   * @throws {WireError} that is another frame than its fragments said
   */
  push(fragment, nowUs) {
    const { counters } = this;
    const lane = this.#lane(fragment, nowUs);
    if (fragment.parity) {
      counters.parity++;
      lane.noteParity(fragment, fragment.number);
    } else {
      counters.fragments++;
    }
    this.#show(fragment, lane, true, nowUs);
    let frame = this.partial(fragment);
    if (frame && nowUs >= this.#overUs(frame)) {
      this.#expire(frame);
      frame = undefined;
    }
    if (!frame && lane.isDone(fragment)) {
      counters.duplicates++;
      return null;
    }
    return this.#add(frame ?? this.#begin(fragment, lane, nowUs), lane, fragment, nowUs);
  }

  /**
   * A frame has begun on a stream: its header is here. Its fragments may still complete it first.
   * @param {Name & {captureUs: number, keyframe: boolean}} frame @param {number} nowUs
   */
  arrivedAsStream(frame, nowUs) {
    const lane = this.#lane(frame, nowUs);
    if (lane.isDone(frame)) return;
    if (frame.keyframe) lane.noteKeyframe(frame.group, nowUs, nowUs);
    this.#show(frame, lane, false, nowUs);
    lane.stream(frame);
    const partial = this.partial(frame);
    if (!partial) return;
    partial.onStream = true;
    if (partial.count === 0) this.#forget(partial);
  }

  /**
   * A frame is here by another way, or was given up by the gateway: what comes of it is of no use.
   * @param {Name} name @returns {boolean} whether all of it was here already
   */
  doneWith(name) {
    const partial = this.partial(name);
    if (partial) this.#forget(partial);
    const lane = this.#laneOf(name);
    const whole = lane?.hasWhole(name) ?? false;
    if (lane && !lane.isDone(name)) lane.finish(nameOf(name), true);
    return whole;
  }

  /** What is to be asked for now. What has become too old is lost first, see takeLost(). @param {number} nowUs @returns {NackEntry[]} */
  nacks(nowUs) {
    for (const frame of [...this.#frames.values()]) if (nowUs >= this.#overUs(frame)) this.#expire(frame);
    /** @type {NackEntry[]} */ const entries = [];
    for (const frame of this.#frames.values()) {
      const deadline = this.deadlineOf(frame);
      for (const { hole, dueUs } of this.#due(frame)) {
        if (nowUs < dueUs) continue;
        if (nowUs >= this.#lastCallUs(hole, deadline)) {
          hole.times = MAX_ASKED; // whoever calls is late
          continue;
        }
        askFor(hole, nowUs, deadline, this.#path);
        entries.push({ ...frame.name, ...frame.rangeOf(hole) });
      }
    }
    if (entries.length > 0) this.#missedUs = nowUs;
    entries.push(...this.#overdue(nowUs));
    this.counters.asked += entries.length;
    return entries;
  }

  /** Lanes whose next frame is asked for when it is overdue, and when that is. */
  #awaited() {
    /** @type {{key: string, lane: Lane, dueUs: number}[]} */ const awaited = [];
    if (this.#missedUs === null) return awaited;
    for (const [key, lane] of this.#lanes) {
      const dueUs = lane.overdueUs;
      if (dueUs !== null && dueUs < this.#missedUs + LOSSES_LAST_US) awaited.push({ key, lane, dueUs });
    }
    return awaited;
  }

  /** @param {number} nowUs */
  #overdue(nowUs) {
    /** @type {NackEntry[]} */ const entries = [];
    for (const { key, lane, dueUs } of this.#awaited()) {
      if (nowUs < dueUs) continue;
      lane.overdueAskedUs = nowUs;
      let deadline = lane.newestUs + lane.distanceUs + this.deadlineUs;
      if (this.clockOffsetUs !== null) {
        deadline = Math.min(deadline, lane.newestCaptureUs + lane.distanceUs - this.clockOffsetUs + this.deadlineUs);
      }
      if (nowUs + this.#path.rttUs >= deadline) continue;
      const [track = 0, rendition = 0] = key.split(':').map(Number);
      const { group, index } = lane.newest;
      entries.push({ track, rendition, group, index: index + 1, first: 0, last: WHOLE });
    }
    return entries;
  }

  /** Frames that were given up since the last call. */
  takeLost() {
    const lost = this.#lost;
    this.#lost = [];
    return lost;
  }

  /** When nacks() has something to do if nothing comes; null: never. @returns {number | null} */
  nextTimeout() {
    let next = Math.min(Infinity, ...this.#awaited().map(({ dueUs }) => dueUs));
    for (const frame of this.#frames.values()) {
      const deadline = this.deadlineOf(frame);
      next = Math.min(next, this.#overUs(frame));
      for (const { hole, dueUs } of this.#due(frame)) if (dueUs < this.#lastCallUs(hole, deadline)) next = Math.min(next, dueUs);
    }
    return next === Infinity ? null : next;
  }

  /** Before that it may be asked for, by rule 7. @param {import('./partial.js').Hole} hole @param {number} deadline */
  #lastCallUs({ times }, deadline) {
    return times > 0 ? deadline - this.#path.rttUs : deadline;
  }

  /** Until when a frame is worth something. @param {PartialFrame} frame */
  deadlineOf(frame) {
    const { keyframe, discardable, firstUs, lastUs, name } = frame;
    const usual = this.#usualDeadlineOf(frame);
    if (keyframe) return Math.max(usual, Math.min(lastUs + this.deadlineUs, firstUs + KEYFRAME_US));
    const lane = this.#laneOf(name);
    const deadline = Math.max(usual, lane?.caughtUpUs(name.group, this.deadlineUs) ?? 0);
    return lane?.chained && !discardable ? deadline + this.#path.patienceUs : deadline;
  }

  /** @param {PartialFrame} frame */
  #usualDeadlineOf({ firstUs, captureUs, count, belated }) {
    const latest = firstUs + this.deadlineUs;
    if (this.clockOffsetUs === null) return latest;
    const deadline = captureUs - this.clockOffsetUs + this.deadlineUs;
    if (count > 0 || belated) return firstUs < deadline && deadline < latest ? deadline : latest;
    return Math.min(deadline, latest);
  }

  /** When a frame is lost: not while an answer that was asked for in time is on its way. @param {PartialFrame} frame */
  #overUs(frame) {
    const asked = frame.holes.map(({ askedUs, times }) => (times > 0 ? askedUs + this.#path.againUs : 0));
    return Math.max(this.deadlineOf(frame), ...asked);
  }

  /** What may be asked for of a frame, and when. @param {PartialFrame} frame */
  #due(frame) {
    if (frame.onStream) return [];
    return frame.due(this.#laneOf(frame.name)?.expectedRows ?? 0, this.#path).filter(({ hole }) => hole.times < MAX_ASKED);
  }

  /** @param {Name} name */
  #laneOf({ track, rendition }) {
    return this.#lanes.get(`${track}:${rendition}`);
  }

  /** @param {Name & {captureUs: number}} from @param {Lane} lane @param {number} nowUs */
  #begin(from, lane, nowUs) {
    const frame = new PartialFrame(nameOf(from), from.captureUs, nowUs);
    frame.onStream = lane.isStreaming(from);
    if (compare(lane.newest, from) > 0) frame.laterUs = nowUs;
    this.#frames.set(keyOf(from), frame);
    this.#heldBytes += frame.heldBytes;
    return frame;
  }

  /** @param {PartialFrame} frame @param {Lane} lane @param {Fragment} fragment @param {number} nowUs */
  #add(frame, lane, fragment, nowUs) {
    const { counters } = this;
    if (!frame.fits(fragment)) {
      counters.mismatched++;
      return null;
    }
    const before = frame.heldBytes;
    const late = frame.add(fragment, nowUs, this.#path);
    this.#heldBytes += frame.heldBytes - before;
    if (late === null) {
      counters.duplicates++;
      return null;
    }
    const reorder = late + Math.floor(late / 4);
    if (reorder > this.reorderUs) this.setPath(this.#path.rttUs, reorder);
    if (!frame.complete) {
      this.#makeRoom();
      return null;
    }
    this.#forget(frame);
    lane.finish(frame.name, true);
    if (frame.keyframe) lane.noteKeyframe(frame.name.group, frame.firstUs, frame.lastUs);
    const done = frame.assemble(nowUs);
    counters.completed++;
    if (frame.lacking > 0) counters.recovered++;
    counters.mended += frame.lacking;
    return done;
  }

  /** @param {Name & {captureUs: number, keyframe: boolean}} frame @param {number} nowUs */
  #lane({ track, rendition, group, index, captureUs, keyframe }, nowUs) {
    const key = `${track}:${rendition}`;
    let lane = this.#lanes.get(key);
    if (!lane) {
      // A keyframe may be the first thing that is sent; anything else has one before it.
      lane = new Lane({ group, index: keyframe ? index - 1 : -1 }, captureUs, nowUs);
      this.#lanes.set(key, lane);
      if (this.#lanes.size > MAX_LANES) this.#dropLane(/** @type {string} */ (this.#lanes.keys().next().value));
    }
    lane.chained ||= !keyframe;
    return lane;
  }

  /** @param {string} key */
  #dropLane(key) {
    const lane = this.#lanes.get(key);
    for (const frame of [...this.#frames.values()]) {
      if (this.#laneOf(frame.name) !== lane) continue;
      this.#lose(frame);
      this.counters.displaced++;
    }
    this.#lanes.delete(key);
  }

  /**
   * Something of a frame is here: if it is the newest, what is before it should be here as well.
   * @param {Name & {captureUs: number}} shown @param {Lane} lane @param {boolean} inDatagrams @param {number} nowUs
   */
  #show(shown, lane, inDatagrams, nowUs) {
    if (compare(shown, lane.newest) <= 0) return;
    const { track, rendition, group, index, captureUs } = shown;
    for (const frame of this.#frames.values()) {
      if (frame.name.track === track && frame.name.rendition === rendition) frame.laterUs ??= nowUs;
    }
    const after = lane.newest.group === group ? lane.newest.index : -1;
    let step = Math.floor((captureUs - lane.newestCaptureUs) / (index - after));
    if (lane.distanceUs) step = Math.min(step, lane.distanceUs);
    const belated = this.clockOffsetUs !== null && captureUs - this.clockOffsetUs + this.deadlineUs <= nowUs;
    const askedUs = lane.newest.group === group ? lane.overdueAskedUs : null;
    lane.advance({ group, index }, captureUs, inDatagrams, nowUs);
    for (let absent = Math.max(after + 1, index - MAX_ABSENT); absent < index; absent++) {
      const absentUs = captureUs - (index - absent) * step;
      this.#announce({ track, rendition, group, index: absent, captureUs: absentUs }, lane, belated, nowUs);
    }
    const overdue = this.#frames.get(keyOf({ track, rendition, group, index: after + 1 }));
    const [hole] = overdue?.holes ?? [];
    if (askedUs !== null && overdue?.count === 0 && hole) askFor(hole, askedUs, this.deadlineOf(overdue), this.#path);
    this.#makeRoom();
  }

  /**
   * A frame must exist of which nothing is here.
   * @param {Name & {captureUs: number}} absent @param {Lane} lane
   * @param {boolean} belated what told of it was too late itself @param {number} nowUs
   */
  #announce(absent, lane, belated, nowUs) {
    if (lane.isDone(absent)) return;
    const frame = this.#begin(absent, lane, nowUs);
    frame.missAll(nowUs, this.#path);
    frame.belated = belated;
  }

  /** @param {PartialFrame} frame */
  #expire(frame) {
    this.#lose(frame);
    this.counters.expired++;
  }

  #makeRoom() {
    while (this.#frames.size > this.maxFrames || this.#heldBytes > this.maxBytes) {
      this.#lose(/** @type {PartialFrame} */ (this.#frames.values().next().value));
      this.counters.displaced++;
    }
  }

  /** @param {PartialFrame} frame */
  #lose(frame) {
    this.#forget(frame);
    this.#laneOf(frame.name)?.finish(frame.name, false);
    if (!frame.onStream) this.#lost.push(frame.name);
  }

  /** @param {PartialFrame} frame */
  #forget(frame) {
    this.#frames.delete(keyOf(frame.name));
    this.#heldBytes -= frame.heldBytes;
  }
}

/** @param {Name} from something with more in it @returns {Name} */
const nameOf = ({ track, rendition, group, index }) => ({ track, rendition, group, index });
