/**
 * The path of the picture: from the wire in order into the decoder and on to the presenter. What
 * cannot be decoded asks for a keyframe; what piles up gives way to the newest keyframe.
 */

import { Jitter } from '../media/jitter.js';
import { FrameOrder } from '../media/ordering.js';
import { Recent } from '../media/statistics.js';
import { MAX_REORDER, NEW_TIMELINE_US, RestartingDecoder } from './decoder.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('./session.js').Position} Position */
/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('./presenter.js').Presenter} Presenter */
/** @typedef {import('./timeline.js').Timeline} Timeline */

const MAX_INSIDE = 10; // decoded frames and chunks in the decoder; hardware decoders own few pictures
const MAX_WAITING_US = 600_000; // frames in order waiting longer than this: the machine is too slow
const OVERTAKEN_QUEUE = 2;
const OVERTAKEN_PAINT_US = 100_000; // however slow the decoder, paint that often
const ASK_EVERY_US = 500_000;
const SKIPS = 64; // that are remembered; what was missing before stays lost

export class VideoPath {
  received = 0;
  decoded = 0;
  reordered = 0;
  lost = 0;
  /** Frames that came after delivery had gone on without them. */ late = 0;
  overload = 0;
  keyframeRequests = 0;
  jitter = new Jitter();
  names = /** @type {Recent<string>} */ (new Recent(4096));
  /** @type {FrameOrder<Frame>} */ order = new FrameOrder();
  /** @type {Frame | null} */ newest = null;
  /** The last in order. @type {Frame | null} */ delivered = null;
  /** Told of each frame that can be decoded. */ onDelivered = () => {};
  /** What is older came late because nothing came at all for a while, which is no jitter. */ silentUntilUs = -Infinity;
  /** How long a missing frame is waited for: until it would be worth nothing any more. */ patienceUs = 500_000;
  /** @type {Frame[]} in order, not yet in the decoder */ #waiting = [];
  #largestUs = -Infinity; // timestamp delivered
  /** @type {Frame | null} of the picture that came out last */ #shown = null;
  #shownBeforeUs = -Infinity; // of another instance: its pictures up to there are known
  #anewUs = -Infinity; // since when frames are of this instance, local
  #parted = true; // in the decoder
  #foreign = 0; // frames of a rendition in which their group did not begin
  #backwards = 0;
  #jitterOrder = false; // whether it is judged by what comes in decoding order
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #gaps = 0;
  /** Where delivery went on without frames. @type {{last: Place, next: Place, missing: number, came: Set<string>}[]} */ #skips = [];
  #askedUs = 0;
  #lastPaintUs = 0;

  /**
   * @param {Presenter} presenter @param {Timeline} timeline
   * @param {(reason: string) => void} askKeyframe
   * @param {(message: string) => void} failed a decoder error, in words
   */
  constructor(presenter, timeline, askKeyframe, failed) {
    this.presenter = presenter;
    this.timeline = timeline;
    this.askKeyframe = askKeyframe;
    this.decoder = new RestartingDecoder((picture, info) => this.#take(picture, info), (message) => {
      failed(message);
      this.#ask('decoder');
    }, () => this.pump());
  }

  /** A frame from the wire. @param {Frame} frame */
  push(frame) {
    this.received++;
    if (this.#isForeign(frame)) return;
    if (frame.ptsUs >= this.silentUntilUs) this.#addJitter(frame);
    if (this.newest && after(this.newest, frame)) this.reordered++;
    else this.newest = frame;
    const { late } = this.order.counters;
    this.#deliver(this.order.push(frame, frame.arrivalUs));
    if (this.order.counters.late > late) this.#cameLate(frame);
  }

  /** Delivery has passed it: it was counted as lost, or comes twice. @param {Frame} frame */
  #cameLate(frame) {
    const skip = this.#skips.find(({ last, next }) => after(frame, last) && after(next, frame));
    const name = `${frame.group}:${frame.index}`;
    if (!skip?.missing || skip.came.has(name)) return;
    skip.came.add(name);
    skip.missing--;
    this.lost--;
    this.late++;
  }

  /** Another session may go on in another rendition, which it cannot in the middle of a group. @param {Frame} frame */
  #isForeign({ group, rendition }) {
    const foreign = group === this.delivered?.group && rendition !== this.delivered.rendition;
    if (!foreign) return false;
    this.#foreign++;
    this.#ask('gap');
    return true;
  }

  /** Timestamps that go back in decoding order would count as jitter of the network. @param {Frame} frame */
  #addJitter(frame) {
    const reorders = Boolean(this.decoder.renditions.get(frame.rendition)?.reorder_frames);
    if (reorders !== this.#jitterOrder) this.jitter.reset();
    this.#jitterOrder = reorders;
    this.jitter.add(frame.arrivalUs - (reorders ? frame.captureUs : frame.ptsUs));
  }

  /** A part of that frame is here. @param {Position} frame */
  coming({ track, group, index }) {
    if (this.newest?.track === track) this.order.coming(group, index);
  }

  /** That frame will not come. @param {Position} frame */
  lose(frame) {
    this.#deliver(this.order.lost(frame.group, frame.index, nowUs()));
  }

  /** @param {Frame[]} frames */
  #deliver(frames) {
    for (const frame of frames) {
      if (this.delivered && this.order.counters.gaps > this.#gaps) this.#skip(this.delivered, frame);
      this.#largestUs = Math.max(frame.ptsUs, frame.group === this.delivered?.group ? this.#largestUs : frame.ptsUs);
      this.delivered = frame;
      frame.orderedUs = Math.max(nowUs(), this.#anewUs + 1);
      this.onDelivered();
      if (!frame.payload.length) continue; // stands for one that the gateway left out, and nothing refers to
      this.#waiting.push(frame);
    }
    this.#gaps = this.order.counters.gaps;
    if (this.order.takeKeyframeRequest()) this.#ask('gap');
    this.pump();
    clearTimeout(this.#timer);
    const timeout = this.order.nextTimeout();
    if (timeout === null) return;
    this.#timer = setTimeout(() => this.#deliver(this.order.advance(nowUs())), Math.max(1, (timeout - nowUs()) / 1000));
  }

  /** Delivery goes on behind a gap. @param {Frame} last before it @param {Frame} next */
  #skip(last, next) {
    const missing = missingBetween(last, this.#largestUs, next);
    if (!missing) return;
    this.lost += missing;
    this.#skips = [...this.#skips, { last: place(last), next: place(next), missing, came: new Set() }].slice(-SKIPS);
  }

  /** Feeds the decoder as far as there is room. */
  pump() {
    this.#shed();
    for (let next = this.#waiting[0]; next && this.#room() && this.decoder.accepts(next); next = this.#waiting[0]) {
      this.#waiting.shift();
      if (!this.#parted && !this.#isOld(next)) {
        this.#parted = true;
        this.decoder.part();
      }
      if (!this.decoder.decode(next)) this.#ask('decoder');
    }
  }

  /** A decoder that reorders gives nothing out until it has what is to be shown first. */
  #room() {
    const most = this.decoder.reorder ? MAX_INSIDE + MAX_REORDER : MAX_INSIDE;
    return this.presenter.held < MAX_INSIDE && this.presenter.held + this.decoder.inside < most;
  }

  /** A decoder that does not keep up goes on at the newest keyframe, or asks for one. */
  #shed() {
    const first = this.#waiting[0];
    if (!first || this.presenter.held > 0 || nowUs() - (first.orderedUs ?? first.arrivalUs) < MAX_WAITING_US) return;
    const keyframe = this.#waiting.findLastIndex((frame) => frame.keyframe);
    if (keyframe === 0) return;
    const shed = this.#waiting.splice(0, keyframe > 0 ? keyframe : this.#waiting.length);
    this.overload += shed.length;
    this.decoder.reset();
    if (keyframe < 0) this.#ask('decoder');
  }

  /** From the decoder; this owns the picture and passes it on. @param {VideoFrame} picture @param {FrameInfo} info */
  #take(picture, info) {
    const { frame } = info;
    this.decoded++;
    const before = this.#shown;
    const old = this.#isOld(frame);
    const backwards = !old && before !== null && frame.ptsUs <= before.ptsUs;
    if (backwards) this.#backwards++;
    this.names.push(`${frame.group}:${frame.index}`);
    if (frame.ptsUs >= this.silentUntilUs) {
      this.timeline.pictures.add((frame.orderedUs ?? frame.arrivalUs) + (info.decodedUs - info.decodeUs) - frame.ptsUs, info.decodedUs);
    }
    if (old) this.#shownBeforeUs = Math.max(this.#shownBeforeUs, frame.ptsUs);
    else if (this.#wasShown(frame)) {
      picture.close();
      this.presenter.dropped++;
      return this.pump();
    }
    const tooLate = backwards && (frame.group === before.group || before.ptsUs - frame.ptsUs < NEW_TIMELINE_US);
    if (!tooLate && !old) this.#shown = frame;
    const overtaken = this.timeline.mode === 'asap' && this.decoder.queue >= OVERTAKEN_QUEUE
      && info.decodedUs - this.#lastPaintUs < OVERTAKEN_PAINT_US;
    if (overtaken || tooLate) {
      picture.close();
      this.presenter.dropped++;
    } else {
      this.#lastPaintUs = info.decodedUs;
      this.presenter.submit(picture, info);
    }
    if (this.#waiting.length) this.pump();
  }

  /** Whether it was here before another instance went on. @param {Frame} frame */
  #isOld({ orderedUs = 0 }) {
    return orderedUs <= this.#anewUs;
  }

  /** Whether another instance has shown it already, if not by that name. @param {Frame} frame */
  #wasShown({ ptsUs }) {
    const ahead = this.#shownBeforeUs - ptsUs;
    if (ahead >= 0 && ahead < NEW_TIMELINE_US) return true;
    this.#shownBeforeUs = -Infinity;
    return false;
  }

  /** @param {string} reason */
  #ask(reason) {
    const now = nowUs();
    if (now - this.#askedUs < ASK_EVERY_US) return;
    this.#askedUs = now;
    this.keyframeRequests++;
    this.askKeyframe(reason);
  }

  /** Pictures that came out after one that is to be shown later. */
  get outOfOrder() {
    return this.#backwards + this.decoder.outOfOrder;
  }

  /** Frames given up anywhere on the way. */
  get dropped() {
    return this.decoder.dropped + this.presenter.dropped + this.overload + this.#foreign
      + this.order.counters.late + this.order.counters.discarded;
  }

  /**
   * Positions start anew; the decoder stays, the first frame will be a keyframe.
   * @param {boolean} [goesOn] whether it shows the same as before: what waits is still shown, and nothing twice
   */
  newSession(goesOn = false) {
    clearTimeout(this.#timer);
    const { late, discarded } = this.order.counters;
    this.overload += late + discarded;
    this.order = new FrameOrder({ patienceUs: this.patienceUs });
    this.#gaps = 0;
    this.#skips = [];
    this.#shownBeforeUs = goesOn ? this.#shown?.ptsUs ?? -Infinity : -Infinity;
    this.newest = this.delivered = this.#shown = null;
    this.#largestUs = -Infinity;
    this.#askedUs = 0;
    this.#parted = !goesOn;
    this.#anewUs = goesOn ? nowUs() : -Infinity;
    if (goesOn) return;
    this.overload += this.#waiting.length;
    this.#waiting = [];
    this.silentUntilUs = -Infinity;
    this.jitter.reset();
    this.presenter.clear();
    this.decoder.reset();
  }
}

/** @typedef {{group: number, index: number}} Place */

/** @param {Place} a @param {Place} b whether a comes after b */
const after = (a, b) => a.group > b.group || (a.group === b.group && a.index > b.index);

/** Of a frame, without its bytes. @param {Place} frame @returns {Place} */
const place = ({ group, index }) => ({ group, index });

/**
 * How many frames are missing between two that were delivered with a gap.
 * @param {Frame} last @param {number} largestUs timestamp delivered of its group @param {Frame} frame
 */
function missingBetween(last, largestUs, frame) {
  if (frame.group === last.group) return frame.index - last.index - 1;
  // Groups do not say how long they are; timestamps do.
  return last.durationUs ? Math.max(0, Math.round((frame.ptsUs - largestUs) / last.durationUs) - 1) : 1;
}
