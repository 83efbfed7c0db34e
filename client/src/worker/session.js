/**
 * One WebTransport session: reads its streams into frames, speaks on the control stream, and ends
 * exactly once with a reason. Knows nothing of media or of reconnecting.
 */

import { FrameParser, WireError } from '../media/wire.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {{code: number, reason: string, clean: boolean}} End `clean`: closed by a code of the protocol */
/**
 * @typedef {object} SessionHandlers
 * @property {(frame: Frame) => void} frame
 * @property {(frame: Frame) => void} lost a stream was reset inside that frame
 * @property {(message: Message, arrivalUs: number) => void} message
 * @property {(bytes: number) => void} bytes media bytes received
 */

// Media does not wait for msgpack: its modules load beside the first frames.
const messagesModule = import('../media/messages.js');

const NORMAL = 0;
const MALFORMED = 0x10;

export class Session {
  /** When anything at all was last heard, local µs. */
  heardUs = nowUs();
  /** @type {WebTransport} */ #transport;
  /** @type {SessionHandlers} */ #handlers;
  /** @type {(end: End) => void} */ #end = () => {};
  /** @type {WritableStreamDefaultWriter<Uint8Array> | null} */ #writer = null;
  /** @type {typeof import('../media/messages.js') | null} */ #codec = null;

  /** @param {WebTransport} transport @param {SessionHandlers} handlers */
  constructor(transport, handlers) {
    this.#transport = transport;
    this.#handlers = handlers;
    /** @type {Promise<End>} */ this.ended = new Promise((resolve) => { this.#end = resolve; });
    transport.closed.then(
      ({ closeCode = NORMAL, reason = '' }) => this.#end({ code: closeCode, reason, clean: true }),
      (error) => this.#end({ code: NORMAL, reason: words(error), clean: false }),
    );
    this.#readStreams().catch(() => {}); // the end of the session says why
    this.#readControl().catch(() => {});
  }

  /** Resolves when the CONNECT was accepted. @param {number} timeoutMs @throws {Error} refused, unreachable or too slow */
  async ready(timeoutMs) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
    const timeout = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
    });
    try {
      await Promise.race([this.#transport.ready, timeout]);
    } catch (error) {
      this.close(NORMAL, '');
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends a control message, or nothing if the control stream is not there. @param {Message} message */
  send(message) {
    if (this.#writer && this.#codec) this.#writer.write(this.#codec.pack(message)).catch(() => {});
  }

  /** @param {number} code @param {string} reason */
  close(code, reason) {
    try {
      this.#transport.close({ closeCode: code, reason });
    } catch { // was never open, or is closed
    }
    this.#end({ code, reason, clean: false });
  }

  async #readControl() {
    const streams = this.#transport.incomingBidirectionalStreams.getReader();
    const { value: stream } = await streams.read();
    if (!stream) return;
    this.#codec = await messagesModule;
    this.#writer = stream.writable.getWriter();
    const parser = new this.#codec.MessageReader();
    const reader = stream.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.heardUs = nowUs();
      try {
        for (const message of parser.feed(value)) this.#handlers.message(message, this.heardUs);
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
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.heardUs = nowUs();
        firstByteUs ||= this.heardUs;
        this.#handlers.bytes(value.length);
        for (const frame of parser.feed(value)) {
          frame.arrivalUs = this.heardUs;
          frame.firstByteUs = firstByteUs;
          firstByteUs = this.heardUs; // where the next frame of this stream began at the latest
          this.#handlers.frame(frame);
        }
      }
    } catch (error) {
      if (error instanceof WireError) this.#refuse(error);
      else if (parser.unfinished) this.#handlers.lost(parser.unfinished); // reset: late or overtaken
    }
  }

  /** @param {unknown} error */
  #refuse(error) {
    const code = error instanceof WireError ? error.code : MALFORMED;
    this.close(code, `the gateway sent what this player does not understand: ${words(error)}`);
  }
}

/** @param {unknown} error */
export function words(error) {
  return error instanceof Error ? error.message : String(error);
}
