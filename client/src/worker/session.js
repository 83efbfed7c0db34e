/**
 * One session over WebTransport, or what looks like it: reads its streams into frames, speaks on the control stream, and ends
 * exactly once with a reason. Datagrams are read by worker/datagrams.js. Knows nothing of media or of
 * reconnecting.
 */

import { FrameParser, WireError } from '../media/wire.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').DatagramCounters} DatagramCounters */
/** @typedef {import('../types.js').Transport} Transport */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {Pick<Frame, 'track' | 'rendition' | 'group' | 'index'>} Position */
/** @typedef {{code: number, reason: string, clean: boolean}} End `clean`: closed by a code of the protocol */
/**
 * @typedef {object} SessionHandlers
 * @property {() => void} heard anything at all
 * @property {(frame: Frame) => void} frame
 * @property {(frame: Position) => void} coming a part of that frame is here
 * @property {(frame: Position) => void} lost a stream was reset inside that frame, or its deadline is over
 * @property {(message: Message, arrivalUs: number) => void} message
 * @property {(bytes: number) => void} bytes media bytes received
 * @property {() => void} noDatagrams none can be had on this connection, or their part of the player cannot
 */
/**
 * @typedef {object} DatagramLink what reading datagrams needs to know of the rest
 * @property {boolean} wanted whether any are to come
 * @property {number} deadlineUs from capture
 * @property {DatagramCounters} counters
 * @property {() => boolean} reports whether the gateway sends datagrams, and wants to hear when frames came
 * @property {() => number} rttUs 0: not known yet
 * @property {() => number | null} clockOffsetUs gateway time minus local time; null: not known yet
 */

/**
 * Not joined to this script, but fetched when it is needed. What could not be fetched is tried again by who needs it
 * next, under another name, since browsers remember that it failed.
 * @param {string} path
 */
export function fetched(path) {
  let tries = 0;
  /** @type {Promise<any> | null} */ let module = null;
  return () => {
    module ??= import(new URL(path + (tries++ ? `?${tries}` : ''), import.meta.url).href).catch((error) => {
      module = null;
      throw error;
    });
    return module;
  };
}

// While the CONNECT is on its way: media does not wait for msgpack, and datagrams wait in the transport.
/** @type {() => Promise<typeof import('../media/messages.js')>} */ const loadMessages = fetched('../media/messages.js');
/** @type {() => Promise<typeof import('./datagrams.js')>} */ const loadDatagrams = fetched('./datagrams.js');
loadMessages().catch(() => {}); // asked for again when it is needed

const MAX_BEFORE = 64;
const NORMAL = 0;
const MALFORMED = 0x10;

export class Session {
  /** When anything at all was last heard, local µs. */
  heardUs = nowUs();
  /** @type {Transport} */ #transport;
  /** May be others while it runs. @type {SessionHandlers} */ handlers;
  /** @type {(end: End) => void} */ #end = () => {};
  /** @type {WritableStreamDefaultWriter<Uint8Array> | null} */ #writer = null;
  /** @type {typeof import('../media/messages.js') | null} */ #codec = null;
  /** @type {import('./datagrams.js').Datagrams | null} */ #datagrams = null;
  /** @type {Frame[]} the newest of another session */ #known = [];
  /** @type {Frame[] | null} that came on streams before datagrams are read: nothing of them is missing */ #before;

  /** @param {Transport} transport @param {SessionHandlers} handlers @param {DatagramLink} link */
  constructor(transport, handlers, link) {
    this.#transport = transport;
    this.handlers = handlers;
    /** @type {Promise<End>} */ this.ended = new Promise((resolve) => { this.#end = resolve; });
    transport.closed.then(
      ({ closeCode = NORMAL, reason = '' }) => this.#end({ code: closeCode, reason, clean: true }),
      (error) => this.#end({ code: NORMAL, reason: words(error), clean: false }),
    );
    /** When the gateway has taken it; fails where it is refused or cannot be reached. @type {Promise<void>} */
    this.opened = transport.ready.catch((error) => {
      this.close(NORMAL, '');
      throw error;
    });
    this.opened.catch(() => {}); // heard by who minds
    this.#before = link.wanted ? [] : null;
    this.#readStreams().catch(() => {}); // the end of the session says why
    this.#readControl().catch(() => {});
    if (link.wanted) this.#readDatagrams(link).catch(() => {});
  }

  /** @returns {import('../types.js').TransportKind} */
  get kind() {
    return 'kind' in this.#transport ? this.#transport.kind : 'webtransport';
  }

  /** Sends a control message, or nothing if the control stream is not there. @param {Message} message */
  send(message) {
    if (this.#writer && this.#codec) this.#writer.write(this.#codec.pack(message)).catch(() => {});
  }

  /** What follows them is what this session sends. @param {Frame[]} frames the newest that came in another one, of each track */
  follow(frames) {
    this.#known = frames;
    this.#datagrams?.known(frames);
  }

  /** @param {number} code @param {string} reason */
  close(code, reason) {
    try {
      this.#transport.close({ closeCode: code, reason });
    } catch { // was never open, or is closed
    }
    this.#end({ code, reason, clean: false });
  }

  /**
   * As the gateway wished, for its reason. It would close soon: this way nothing that it said is lost, and
   * no browser comes upon a session that ends while streams are read (Chromium 156 may crash then).
   * @param {Message} goodbye
   */
  #leave({ code, reason }) {
    this.#end({ code, reason, clean: true });
    this.close(code, reason);
  }

  /** @param {DatagramLink} link */
  async #readDatagrams(link) {
    const loading = loadDatagrams().catch(() => null);
    await this.#transport.ready;
    const { datagrams } = this.#transport;
    const module = 'readable' in datagrams && datagrams.maxDatagramSize > 0 ? await loading : null;
    const before = this.#before ?? [];
    this.#before = null;
    if (!module || !('readable' in datagrams)) return this.handlers.noDatagrams();
    this.#datagrams = new module.Datagrams(datagrams, link, this.handlers);
    for (const frame of before) this.#datagrams.streamed(frame);
    this.#datagrams.known(this.#known);
    try {
      await this.#datagrams.read((now) => this.#hear(now));
    } catch (error) {
      // By its name: what was fetched has a class of its own. Anything else is the end of the session, which says why.
      if (error instanceof Error && error.name === 'WireError') this.#refuse(error);
    } finally {
      this.#datagrams.close();
    }
  }

  /** @param {number} now */
  #hear(now) {
    this.heardUs = now;
    this.handlers.heard();
  }

  async #readControl() {
    const streams = this.#transport.incomingBidirectionalStreams.getReader();
    const { value: stream } = await streams.read();
    if (!stream) return;
    try {
      this.#codec = await loadMessages();
    } catch (error) {
      return this.close(NORMAL, `a part of the player could not be loaded: ${words(error)}`);
    }
    this.#writer = stream.writable.getWriter();
    const parser = new this.#codec.MessageReader();
    const reader = stream.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.#hear(nowUs());
      try {
        for (const message of parser.feed(value)) {
          this.handlers.message(message, this.heardUs);
          if (message.kind === 'goodbye') this.#leave(message);
        }
      } catch (error) {
        this.#refuse(error);
      }
    }
  }

  async #readStreams() {
    const streams = this.#transport.incomingUnidirectionalStreams.getReader();
    for (;;) {
      const { done, value } = await streams.read();
      if (done) return;
      this.#readFrames(value);
    }
  }

  /** @param {ReadableStream<Uint8Array>} stream */
  async #readFrames(stream) {
    const parser = new FrameParser();
    const reader = stream.getReader();
    let firstByteUs = 0;
    /** @type {Frame | null} */ let coming = null;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.#hear(nowUs());
        firstByteUs ||= this.heardUs;
        this.handlers.bytes(value.length);
        for (const frame of parser.feed(value)) {
          frame.arrivalUs = this.heardUs;
          frame.firstByteUs = firstByteUs;
          firstByteUs = this.heardUs; // where the next frame of this stream began at the latest
          if (this.#isNews(frame)) this.handlers.frame(frame);
        }
        if (coming === parser.unfinished) continue;
        coming = parser.unfinished;
        if (!coming) continue;
        this.#datagrams?.streaming(coming);
        this.handlers.coming(coming);
      }
    } catch (error) {
      if (error instanceof WireError) this.#refuse(error);
      else if (parser.unfinished) this.#lose(parser.unfinished);
    }
  }

  /** Whether that frame, which came on a stream, has not come in datagrams before. @param {Frame} frame */
  #isNews(frame) {
    if (this.#datagrams) return this.#datagrams.streamed(frame);
    if (this.#before && this.#before.push(frame) > MAX_BEFORE) this.#before.shift();
    return true;
  }

  /** Its stream was reset: late or overtaken. @param {Frame} frame */
  #lose(frame) {
    this.#datagrams?.reset(frame);
    this.handlers.lost(frame);
  }

  /** @param {unknown} error */
  #refuse(error) {
    const code = Number(/** @type {Partial<WireError>} */ (error)?.code) || MALFORMED;
    this.close(code, `the gateway sent what this player does not understand: ${words(error)}`);
  }
}

/** @param {unknown} error */
export function words(error) {
  return error instanceof Error ? error.message : String(error);
}
