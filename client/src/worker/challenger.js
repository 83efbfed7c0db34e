/**
 * A session opened beside the one that plays, until one of the two is closed. What comes of it is held until its
 * `welcome` tells how to go on: with the same instance its frames follow those of the other session, with
 * another one all tracks begin anew.
 */

import { beginAnew, delivered, follow, isNewer } from './handover.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('../media/roaming.js').Kind} Kind */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./session.js').SessionHandlers} SessionHandlers */
/** @typedef {import('./session.js').Position} Position */
/** @typedef {import('./connector.js').Connector} Connector */
/**
 * @typedef {object} Watcher who decides which session is kept
 * @property {() => void} heard a byte of anything came
 * @property {(kind: Kind, newer: boolean) => void} frame it has a frame to deliver
 * @property {() => void} adopted it is the session that plays
 * @property {() => void} failed it is over, or is of no use
 */

const MAX_HELD = 64; // frames and messages; of frames the oldest give way

export class Challenger {
  /** Whether it is to play as soon as it can. */ #won = false;
  #over = false;
  /** @type {Frame[]} */ #frames = [];
  #offered = 0; // of those
  /** @type {[Message, number][]} and when they came */ #messages = [];
  /** @type {Position[]} */ #lost = [];
  #noDatagrams = false;
  /** @type {{message: Message, arrivalUs: number} | null} */ #welcome = null;
  /** Kind of each track. @type {Map<number, string> | null} */ #tracks = null;
  #connector;
  #watcher;
  /** @type {Session} */ #session;

  /** @param {Connector} connector @param {import('../types.js').Transport} transport @param {Watcher} watcher */
  constructor(connector, transport, watcher) {
    this.#connector = connector;
    this.#watcher = watcher;
    transport.ready.catch(() => {}); // its end says why
    this.#session = connector.begin(transport, this.#handlers());
    this.#session.ended.then(() => this.#fail());
  }

  /** It is to take the other session's place: at once, or as soon as its `welcome` is there. */
  win() {
    this.#won = true;
    if (this.#welcome) this.#adopt();
  }

  /** It is not needed, or has waited for too long. */
  close() {
    this.#over = true;
    this.#session.close(0, 'the other session goes on');
  }

  #fail() {
    if (this.#over) return;
    this.close();
    this.#watcher.failed();
  }

  /** @returns {SessionHandlers} */
  #handlers() {
    const { engine } = this.#connector;
    return {
      heard: () => this.#watcher.heard(),
      bytes: (count) => engine.report.bytes.add(count, nowUs() / 1000),
      frame: (frame) => this.#hold(frame),
      coming: () => {},
      lost: (position) => void (this.#lost.length < MAX_HELD && this.#lost.push(position)),
      message: (message, arrivalUs) => this.#take(message, arrivalUs),
      noDatagrams: () => { this.#noDatagrams = true; },
    };
  }

  /** Whether what comes of it follows what came of the session that plays. */
  get #follows() {
    return this.#welcome !== null && this.#welcome.message.instance !== '' && this.#welcome.message.instance === this.#connector.place.instance;
  }

  /** @param {Frame} frame */
  #hold(frame) {
    this.#frames.push(frame);
    if (this.#frames.length > MAX_HELD) {
      this.#frames.shift();
      this.#offered = Math.max(0, this.#offered - 1);
    }
    this.#offer();
  }

  /** @param {Message} message @param {number} arrivalUs */
  #take(message, arrivalUs) {
    if (this.#messages.push([message, arrivalUs]) > MAX_HELD) return this.#fail();
    if (message.kind === 'catalog') this.#tracks = new Map(message.tracks.map((/** @type {{id: number, kind: string}} */ { id, kind }) => [id, kind]));
    if (message.kind === 'welcome') {
      this.#welcome = { message, arrivalUs };
      if (this.#follows) this.#session.follow(delivered(this.#connector.engine));
      if (this.#won) return this.#adopt();
    }
    this.#offer();
  }

  /** Tells of the frames that are of use now. */
  #offer() {
    const { engine } = this.#connector;
    const follows = this.#follows;
    if (!this.#welcome || !(follows || this.#tracks)) return;
    while (!this.#over && this.#offered < this.#frames.length) {
      const frame = /** @type {Frame} */ (this.#frames[this.#offered++]);
      const kind = follows ? engine.kindOf(frame.track) : this.#tracks?.get(frame.track);
      if (kind !== 'video' && kind !== 'audio') continue;
      if (follows) this.#watcher.frame(kind, isNewer(engine, frame));
      else if (kind === 'audio' || frame.keyframe) this.#watcher.frame(kind, true);
    }
  }

  /** From now on it is the session that plays; what was held goes to the engine. */
  #adopt() {
    if (this.#over) return;
    this.#over = true;
    const { engine } = this.#connector;
    const { message, arrivalUs } = /** @type {{message: Message, arrivalUs: number}} */ (this.#welcome);
    const follows = this.#follows;
    this.#connector.takeOver(this.#session);
    if (follows) follow(engine);
    else beginAnew(engine, message.time_us, arrivalUs);
    this.#watcher.adopted();
    for (const [held, heldUs] of this.#messages) engine.message(held, heldUs);
    for (const frame of this.#frames) engine.frame(frame);
    for (const position of this.#lost) engine.lost(position);
    if (this.#noDatagrams) engine.viewing.useStreams();
  }
}
