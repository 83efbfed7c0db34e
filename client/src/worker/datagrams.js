/**
 * The datagrams of one session: fragments become frames, what is missing is asked for, and the gateway is
 * told when frames came. A script of its own, fetched while the CONNECT is on its way; until it is there
 * datagrams wait in the transport.
 */

import { ArrivalLog, encodeArrivals } from '../media/arrivals.js';
import { decodeFragment, TYPE_FRAGMENT, TYPE_PARITY } from '../media/fragments.js';
import { encodeNacks } from '../media/nacks.js';
import { Reassembly } from '../media/reassembly.js';
import { FRAME_HEADER_BYTES } from '../media/wire.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../media/arrivals.js').Arrival} Arrival */
/** @typedef {import('../media/partial.js').Name} Name */
/** @typedef {import('./session.js').DatagramLink} DatagramLink */
/** @typedef {import('./session.js').SessionHandlers} SessionHandlers */
/** @typedef {Pick<SessionHandlers, 'frame' | 'coming' | 'lost' | 'bytes'>} Handlers */

const REPORT_MS = 50;
const ASK_EVERY_US = 4_000; // what is due meanwhile goes together; the gateway takes 400 datagrams a second for a flood
const MAX_WRITING = 64; // datagrams that the browser has not taken yet; what is more would be stale
const MAX_DATAGRAM_BYTES = 1200; // surely fit a path that carries QUIC
const PATH_EVERY_US = 1_000_000;
const BEFORE = 64; // frames; no more of those that might be missing are asked for

export class Datagrams {
  /** Datagrams that the browser had no room for. */ unsent = 0;
  #datagrams;
  #link;
  #handlers;
  #now;
  #reassembly;
  #log = new ArrivalLog();
  /** @type {WritableStreamDefaultWriter<Uint8Array>} */ #writer;
  #writing = 0;
  #askedUs = -Infinity;
  #pathUs = -Infinity;
  #rttUs = 0;
  #counted = { fragmentsReceived: 0, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {number | null} */ #timerUs = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #reportTimer;

  /** @param {WebTransportDatagramDuplexStream} datagrams @param {DatagramLink} link @param {Handlers} handlers @param {() => number} [now] for tests */
  constructor(datagrams, link, handlers, now = nowUs) {
    this.#now = now;
    this.#datagrams = datagrams;
    this.#link = link;
    this.#handlers = handlers;
    this.#reassembly = new Reassembly({ deadlineUs: link.deadlineUs });
    this.#writer = (datagrams.createWritable?.() ?? datagrams.writable).getWriter();
    this.#writer.closed.catch(() => {}); // the end of the session says why
  }

  /** Until there are no more. @param {(nowUs: number) => void} heard told of each @throws {WireError} one that is malformed */
  async read(heard) {
    const reader = this.#datagrams.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const now = this.#now();
      heard(now);
      this.#link.counters.datagramsReceived++;
      // Padding, and types of later versions, are nothing to us.
      if (value[0] === TYPE_FRAGMENT || value[0] === TYPE_PARITY) this.#take(value, now);
    }
  }

  /** These came in another session, and so did what was before them: nothing of it is asked for. @param {Frame[]} frames the newest of each track */
  known(frames) {
    const now = this.#now();
    for (const frame of frames) {
      this.#reassembly.arrivedAsStream({ ...frame, keyframe: true }, now); // as if nothing could be before it
      for (let index = frame.index; index >= Math.max(0, frame.index - BEFORE); index--) this.#reassembly.doneWith({ ...frame, index });
    }
    this.#ask(now);
  }

  /** Nothing is asked for or reported any more. */
  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#reportTimer);
    this.#writing = Infinity;
  }

  /** A frame has begun on a stream. Where all do, none is asked for and the gateway needs no word of them. @param {Frame} frame */
  streaming(frame) {
    if (!this.#link.reports()) return;
    const now = this.#now();
    this.#reassembly.arrivedAsStream(frame, now);
    this.#ask(now);
  }

  /** A stream was reset inside a frame. @param {Frame} frame */
  reset(frame) {
    if (this.#link.reports()) this.#reassembly.doneWith(frame);
  }

  /** A frame is complete on a stream. @param {Frame} frame @returns {boolean} false: it was here already */
  streamed(frame) {
    if (!this.#link.reports()) return true;
    this.#reassembly.arrivedAsStream(frame, frame.arrivalUs); // its header may have come with its end
    const news = !this.#reassembly.doneWith(frame);
    if (!news) this.#link.counters.duplicates++;
    this.#note(frame, {
      complete: true, stream: true, receivedBytes: FRAME_HEADER_BYTES + frame.payload.length,
      firstUs: frame.firstByteUs, lastUs: frame.arrivalUs,
    });
    this.#ask(frame.arrivalUs);
    return news;
  }

  /** @param {Uint8Array} datagram @param {number} now */
  #take(datagram, now) {
    const fragment = decodeFragment(datagram);
    this.#handlers.bytes(datagram.length);
    this.#followPath(now);
    const { counters } = this.#reassembly;
    const refused = counters.duplicates + counters.mismatched;
    const frame = this.#reassembly.push(fragment, now);
    const partial = this.#reassembly.partial(fragment);
    const news = counters.duplicates + counters.mismatched === refused;
    if (frame) {
      this.#note(fragment, { complete: true, stream: false, receivedBytes: fragment.objectBytes, firstUs: frame.firstByteUs, lastUs: now });
      this.#handlers.frame(frame);
    } else if (news && partial) {
      const { receivedBytes, firstUs, lastUs } = partial;
      this.#note(fragment, { complete: false, stream: false, receivedBytes, firstUs, lastUs });
      if (partial.pieces.size + partial.rows.size === 1) this.#handlers.coming(fragment);
    }
    this.#ask(now);
  }

  /** Clock and round trip change slowly. @param {number} now */
  #followPath(now) {
    const rttUs = this.#link.rttUs();
    if (now - this.#pathUs < PATH_EVERY_US && rttUs === this.#rttUs) return;
    this.#pathUs = now;
    this.#rttUs = rttUs;
    this.#reassembly.clockOffsetUs = this.#link.clockOffsetUs();
    if (rttUs > 0) this.#reassembly.setPath(rttUs);
  }

  /** Asks for what is due, and comes back when more is. @param {number} now */
  #ask(now) {
    let due = this.#nextAsk();
    if (due !== null && due <= now) {
      this.#askedUs = now;
      for (const datagram of encodeNacks(this.#reassembly.nacks(now), this.#room)) this.#write(datagram);
      for (const name of this.#reassembly.takeLost()) this.#handlers.lost(name);
      due = this.#nextAsk();
    }
    this.#count();
    if (due === this.#timerUs) return;
    clearTimeout(this.#timer);
    this.#timerUs = due;
    if (due !== null) this.#timer = setTimeout(() => this.#onTimer(), Math.max(1, Math.ceil((due - now) / 1000)));
  }

  /** @returns {number | null} */
  #nextAsk() {
    const due = this.#reassembly.nextTimeout();
    return due === null ? null : Math.max(due, this.#askedUs + ASK_EVERY_US);
  }

  #onTimer() {
    this.#timerUs = null;
    this.#ask(this.#now());
  }

  /** @param {Name} name @param {Omit<Arrival, 'track' | 'group' | 'index'>} what has come of it */
  #note({ track, group, index }, what) {
    this.#log.note({ track, group, index, ...what });
    this.#reportTimer ??= setTimeout(() => this.#report(), REPORT_MS);
  }

  #report() {
    this.#reportTimer = undefined;
    for (const datagram of encodeArrivals(this.#log.take(), this.#room)) this.#write(datagram);
  }

  /** How large a datagram may be now. */
  get #room() {
    return Math.min(this.#datagrams.maxDatagramSize, MAX_DATAGRAM_BYTES);
  }

  /** @param {Uint8Array<ArrayBuffer>} datagram */
  #write(datagram) {
    if (this.#writing >= MAX_WRITING) return void this.unsent++;
    this.#writing++;
    const written = () => { this.#writing--; };
    this.#writer.write(datagram).then(written, written);
  }

  #count() {
    const { fragments, mended, asked, expired, displaced, duplicates } = this.#reassembly.counters;
    const now = { fragmentsReceived: fragments, fragmentsRecovered: mended, nacksSent: asked, framesExpired: expired + displaced, duplicates };
    for (const [name, count] of /** @type {[keyof typeof now, number][]} */ (Object.entries(now))) {
      this.#link.counters[name] += count - this.#counted[name];
    }
    this.#counted = now;
  }
}
