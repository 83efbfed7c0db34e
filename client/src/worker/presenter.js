/**
 * Puts decoded frames out when they are due, where they wait for that at all in step with the display. It owns every
 * VideoFrame from submit() until the sink takes it; a frame that is overtaken is closed here and counted.
 */

import { Pacer } from '../media/pacing.js';
import { nowUs } from './time.js';

/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('./sinks.js').Sink} Sink */
/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {{picture: VideoFrame, info: FrameInfo}} Held */

const EARLY_US = 1_000; // timers are no finer than this
const MAX_WAIT_US = 3_000_000; // a timestamp further ahead is a broken one
const NO_TICK_US = 50_000; // a hidden page has no refreshes
/** @type {((callback: (time: number) => void) => number) | undefined} */ const nextRefresh = globalThis.requestAnimationFrame?.bind(globalThis);

export class Presenter {
  dropped = 0;
  /** @type {Sink | null} */ sink = null;
  /** @type {((picture: VideoFrame, info: FrameInfo) => void) | null} sees frames before the sink takes them */ tap = null;
  /** @type {((picture: VideoFrame) => void) | null} the same */ mirror = null;
  /** @type {Held[]} in order */ #held = [];
  #pacer = new Pacer();
  #asked = false; // for the next refresh
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {Timeline} */ #timeline;
  /** @type {(info: FrameInfo, paintUs: number, picture: {width: number, height: number}) => void} */ #painted;
  /** @type {() => void} */ #room;

  /**
   * @param {Timeline} timeline
   * @param {(info: FrameInfo, paintUs: number, picture: {width: number, height: number}) => void} painted
   * @param {() => void} room called when a held frame has left
   */
  constructor(timeline, painted, room) {
    this.#timeline = timeline;
    this.#painted = painted;
    this.#room = room;
  }

  get held() {
    return this.#held.length;
  }

  /** Takes ownership. @param {VideoFrame} picture @param {FrameInfo} info */
  submit(picture, info) {
    const now = nowUs();
    if (this.#held.length === 0 && !this.#paced(now) && this.#timeline.pictureDue(info.frame.ptsUs, now) <= now + EARLY_US) {
      return this.#put({ picture, info });
    }
    this.#held.push({ picture, info });
    this.pump();
  }

  /** Whether pictures wait for the display's refreshes. @param {number} now */
  #paced(now) {
    return this.#timeline.mode !== 'asap' && this.#pacer.steady(now);
  }

  /** Puts out what is due: of several the newest; the others are overtaken. */
  pump() {
    const now = nowUs();
    if (this.#held.length && this.#timeline.mode !== 'asap') this.#askRefresh();
    if (this.#paced(now)) return this.#again(this.#held.length ? Math.max(0, this.#dueIn(0, now)) + NO_TICK_US : Infinity);
    let due = 0;
    while (due < this.#held.length && this.#dueIn(due, now) <= EARLY_US) due++;
    this.#leave(due);
    this.#again(this.#held.length ? this.#dueIn(0, now) : Infinity);
  }

  /** @param {number} waitUs */
  #again(waitUs) {
    clearTimeout(this.#timer);
    if (waitUs === Infinity) return;
    this.#timer = setTimeout(() => {
      if (this.#paced(nowUs())) this.#pacer.reset(); // it was to come long ago
      this.pump();
    }, waitUs / 1000);
  }

  #askRefresh() {
    if (this.#asked || !nextRefresh) return;
    this.#asked = true;
    try {
      nextRefresh((time) => {
        this.#asked = false;
        const [now, told] = [nowUs(), (performance.timeOrigin + time) * 1000];
        this.#refresh(Math.abs(now - told) < NO_TICK_US ? told : now); // not all count from the worker's beginning
      });
    } catch { // some workers have the function and no display: pictures go on by timers, and it is not asked again
    }
  }

  /** @param {number} tickUs local */
  #refresh(tickUs) {
    this.#pacer.tick(tickUs);
    if (this.#paced(tickUs)) this.#leave(this.#pacer.choose(this.#held.map((_, at) => tickUs + this.#dueIn(at, tickUs)), tickUs));
    this.pump();
  }

  /** @param {number} count of those held: the last is shown */
  #leave(count) {
    if (!count) return;
    const ready = this.#held.splice(0, count);
    const last = ready.pop();
    for (const held of ready) this.#drop(held);
    if (last) this.#put(last);
    this.#room();
  }

  /** @param {number} at @param {number} now @returns {number} µs from now */
  #dueIn(at, now) {
    const held = /** @type {Held} */ (this.#held[at]);
    const wait = this.#timeline.pictureDue(held.info.frame.ptsUs, now) - now;
    return wait > MAX_WAIT_US ? 0 : wait;
  }

  /** @param {Held} held */
  #drop(held) {
    held.picture.close();
    this.dropped++;
  }

  /** @param {Held} held */
  #put({ picture, info }) {
    const size = { width: picture.displayWidth, height: picture.displayHeight };
    this.tap?.(picture, info);
    this.mirror?.(picture);
    if (!this.sink) {
      this.#drop({ picture, info });
    } else if (this.sink.paint(picture)) {
      this.#painted(info, nowUs(), size);
    } else {
      this.dropped++;
    }
  }

  /** Closes what is held. */
  clear() {
    clearTimeout(this.#timer);
    for (const held of this.#held.splice(0)) this.#drop(held);
  }
}
