/**
 * A WebSocket that looks like a WebTransport session (docs/protocol.md, "Over a WebSocket"): control messages are its one
 * bidirectional stream, each frame is a unidirectional one, and there are no datagrams. A script of its own,
 * fetched only where WebTransport does not answer. What comes waits in the browser until this worker has time for it,
 * and the gateway, which hears what came, sends no more meanwhile.
 */

import { pack } from '../media/messages.js';
import { nowUs } from './time.js';

const SUBPROTOCOL = 'wtgateway-1';
const CONTROL = 0;
const FRAME = 1;
const CODE_NORMAL = 1000;
const CODE_BASE = 4000; // and a close code of the protocol
const MALFORMED = 0x10;
const TELL_BYTES = 16 * 1024;
const TELL_MS = 50;
const MAX_REASON_BYTES = 123; // RFC 6455, section 5.5: 125, and two are the code

/** @param {string} text @param {number} bytes at most, in UTF-8; no character is cut */
export function shortened(text, bytes) {
  const room = new Uint8Array(bytes);
  return text.slice(0, new TextEncoder().encodeInto(text, room).read);
}

export class WebSocketTransport {
  kind = /** @type {const} */ ('websocket');
  datagrams = /** @type {const} */ ({ maxDatagramSize: 0 });
  /** @type {Promise<void>} */ ready;
  /** @type {Promise<{closeCode: number, reason: string}>} */ closed;
  /** @type {ReadableStream<ReadableStream<Uint8Array>>} */ incomingUnidirectionalStreams;
  /** @type {ReadableStream<{readable: ReadableStream<Uint8Array>, writable: WritableStream<Uint8Array>}>} */ incomingBidirectionalStreams;
  #socket;
  /** @type {() => void} */ #open = () => {};
  /** @type {(end: {closeCode: number, reason: string}) => void} */ #end = () => {};
  /** @type {(error: Error) => void} */ #fail = () => {};
  /** @type {ReadableStreamDefaultController<ReadableStream<Uint8Array>> | null} */ #frames = null;
  /** @type {ReadableStreamDefaultController<Uint8Array> | null} */ #control = null;
  #over = false;
  #bytes = 0; // of frames
  #told = 0; // of those
  #lastUs = 0; // when the newest of them came
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @param {string} url ws: or wss:, with path and query @param {typeof WebSocket} [Socket] for tests */
  constructor(url, Socket = WebSocket) {
    this.ready = new Promise((resolve, reject) => {
      this.#open = resolve;
      this.#fail = reject;
    });
    this.closed = new Promise((resolve, reject) => {
      this.#end = resolve;
      const refuse = this.#fail;
      this.#fail = (error) => {
        refuse(error);
        reject(error);
      };
    });
    for (const promise of [this.ready, this.closed]) promise.catch(() => {}); // heard by who minds
    this.incomingUnidirectionalStreams = new ReadableStream({ start: (controller) => { this.#frames = controller; } });
    /** @type {ReadableStream<Uint8Array>} */ const readable = new ReadableStream({ start: (controller) => { this.#control = controller; } });
    const writable = new WritableStream({ write: (/** @type {Uint8Array} */ bytes) => this.#send(bytes) });
    this.incomingBidirectionalStreams = new ReadableStream({ start: (controller) => controller.enqueue({ readable, writable }) });
    const socket = this.#socket = new Socket(url, SUBPROTOCOL);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#open();
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = (event) => this.#closed(event);
  }

  /** @param {{closeCode?: number, reason?: string}} [info] */
  close({ closeCode = 0, reason = '' } = {}) {
    if (this.#over) return;
    this.#socket.close(closeCode ? CODE_BASE + closeCode : CODE_NORMAL, shortened(reason, MAX_REASON_BYTES));
    // What is on its way is of no use, and a dead path would never answer.
    this.#finish();
    this.#end({ closeCode, reason });
    this.#fail(new Error('closed before it was open'));
  }

  /** @param {unknown} data of one message */
  #take(data) {
    if (this.#over) return;
    const type = data instanceof ArrayBuffer && data.byteLength > 0 ? new Uint8Array(data, 0, 1)[0] : undefined;
    if (type === CONTROL) this.#control?.enqueue(new Uint8Array(/** @type {ArrayBuffer} */ (data), 1));
    else if (type === FRAME) this.#takeFrame(new Uint8Array(/** @type {ArrayBuffer} */ (data), 1));
    else this.close({ closeCode: MALFORMED, reason: 'a message of no known type' });
  }

  /** @param {Uint8Array} frame shares the memory of the message */
  #takeFrame(frame) {
    this.#frames?.enqueue(new ReadableStream({
      start(controller) {
        controller.enqueue(frame);
        controller.close();
      },
    }));
    if (this.#bytes === this.#told) this.#timer = setTimeout(() => this.#tell(), TELL_MS);
    this.#bytes += frame.byteLength;
    this.#lastUs = nowUs();
    if (this.#bytes - this.#told >= TELL_BYTES) this.#tell(true);
  }

  /** Tells what came. @param {boolean} [atOnce] */
  #tell(atOnce = false) {
    clearTimeout(this.#timer);
    this.#told = this.#bytes;
    const waited = atOnce ? 0 : Math.max(0, Math.round(nowUs() - this.#lastUs));
    this.#send(pack({ kind: 'progress', bytes: this.#bytes, waited_us: waited }));
  }

  /** @param {Uint8Array} messages whole ones, each with its length */
  #send(messages) {
    if (this.#over || this.#socket.readyState !== 1) return;
    const bytes = new Uint8Array(1 + messages.length); // its type, 0, first
    bytes.set(messages, 1);
    this.#socket.send(bytes);
  }

  /** @param {{code: number, reason: string}} event */
  #closed({ code, reason }) {
    if (this.#over) return;
    this.#finish();
    const clean = code === CODE_NORMAL || (code >= CODE_BASE && code < CODE_BASE + 0x100);
    if (clean) this.#end({ closeCode: code === CODE_NORMAL ? 0 : code - CODE_BASE, reason });
    this.#fail(new Error(reason || `the WebSocket broke off (${code})`));
  }

  #finish() {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#frames?.close();
    this.#control?.close();
  }
}
