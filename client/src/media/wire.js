/**
 * Binary layouts of media on the wire (docs/protocol.md, "Media objects"), as
 * wtgateway/protocol/wire.py has them. Pure; imports only types.
 */

/** @typedef {import('../types.js').Frame} Frame */

export const FRAME_HEADER_BYTES = 48;
export const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;
const TYPE_FRAME = 0x01;
const KEYFRAME = 0x01;
const DISCARDABLE = 0x02;
const CODE_MALFORMED = 0x10;
const CODE_TOO_LARGE = 0x13;
const U32 = 2 ** 32;

/** Bytes that the protocol does not allow; `code` is the close code that goes with it. */
export class WireError extends Error {
  /** @param {number} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'WireError';
    this.code = code;
  }
}

/** @param {DataView} view @param {number} at */
const u64 = (view, at) => view.getUint32(at) * U32 + view.getUint32(at + 4);

/**
 * @param {DataView} view at least 48 bytes
 * @returns {{frame: Frame, payloadBytes: number}} the frame, its payload still empty
 * @throws {WireError} another object type, or a payload over the limit
 */
export function decodeHeader(view) {
  const type = view.getUint8(0);
  if (type !== TYPE_FRAME) throw new WireError(CODE_MALFORMED, `object type 0x${type.toString(16)} is not a frame`);
  const payloadBytes = view.getUint32(12);
  if (payloadBytes > MAX_PAYLOAD_BYTES) {
    throw new WireError(CODE_TOO_LARGE, `a payload of ${payloadBytes} bytes is over the limit`);
  }
  const flags = view.getUint8(1);
  const captureUs = u64(view, 24);
  /** @param {number} at */
  const stage = (at) => (view.getUint32(at) ? captureUs + view.getUint32(at) : 0);
  return {
    payloadBytes,
    frame: {
      track: view.getUint8(2), rendition: view.getUint8(3), group: view.getUint32(4), index: view.getUint32(8),
      keyframe: (flags & KEYFRAME) !== 0, discardable: (flags & DISCARDABLE) !== 0,
      ptsUs: u64(view, 16), captureUs, durationUs: view.getUint32(32),
      grabbedUs: stage(36), convertedUs: stage(40), encodedUs: stage(44), payload: EMPTY, firstByteUs: 0, arrivalUs: 0,
    },
  };
}

const EMPTY = new Uint8Array(0);

/**
 * Cuts a stream's bytes into frames; a frame is given out with its last byte, without waiting for
 * the stream's end. Holds at most one unfinished frame. Payloads may share memory with the chunks.
 */
export class FrameParser {
  #head = new Uint8Array(FRAME_HEADER_BYTES);
  #headFill = 0;
  /** @type {Frame | null} */ #frame = null;
  #need = 0;
  /** @type {Uint8Array} */ #payload = EMPTY;
  #fill = 0;

  /** True at a frame's border, the only place where a stream may end in order. */
  get idle() {
    return this.#frame === null && this.#headFill === 0;
  }

  /** The frame whose header has come but not its whole payload. */
  get unfinished() {
    return this.#frame;
  }

  /** @param {Uint8Array} chunk @returns {Frame[]} the frames completed by it; @throws {WireError} */
  feed(chunk) {
    /** @type {Frame[]} */ const frames = [];
    let at = 0;
    while (at < chunk.length || (this.#frame && this.#need === 0)) {
      at = this.#frame ? this.#takePayload(chunk, at) : this.#takeHeader(chunk, at);
      if (this.#frame && this.#fill === this.#need) frames.push(this.#finish(this.#frame));
    }
    return frames;
  }

  /** @param {Uint8Array} chunk @param {number} at @returns {number} where to go on */
  #takeHeader(chunk, at) {
    const count = Math.min(FRAME_HEADER_BYTES - this.#headFill, chunk.length - at);
    this.#head.set(chunk.subarray(at, at + count), this.#headFill);
    this.#headFill += count;
    if (this.#headFill === FRAME_HEADER_BYTES) {
      const { frame, payloadBytes } = decodeHeader(new DataView(this.#head.buffer));
      this.#frame = frame;
      this.#need = payloadBytes;
      this.#fill = 0;
    }
    return at + count;
  }

  /** @param {Uint8Array} chunk @param {number} at @returns {number} where to go on */
  #takePayload(chunk, at) {
    const count = Math.min(this.#need - this.#fill, chunk.length - at);
    const part = chunk.subarray(at, at + count);
    if (count === this.#need) { // whole in one chunk: no copy
      this.#payload = part;
    } else {
      if (this.#fill === 0) this.#payload = new Uint8Array(this.#need);
      this.#payload.set(part, this.#fill);
    }
    this.#fill += count;
    return at + count;
  }

  /** @param {Frame} frame */
  #finish(frame) {
    frame.payload = this.#payload;
    this.#frame = null;
    this.#payload = EMPTY;
    this.#headFill = this.#need = this.#fill = 0;
    return frame;
  }
}

/** @param {Frame} frame @returns {Uint8Array} a frame object, as the gateway makes it (for tests) */
export function encodeFrame(frame) {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + frame.payload.length);
  const view = new DataView(bytes.buffer);
  /** @param {number} us */
  const delta = (us) => (us ? Math.min(Math.max(us - frame.captureUs, 1), U32 - 1) : 0);
  bytes.set([TYPE_FRAME, (frame.keyframe ? KEYFRAME : 0) | (frame.discardable ? DISCARDABLE : 0), frame.track, frame.rendition]);
  view.setUint32(4, frame.group);
  view.setUint32(8, frame.index);
  view.setUint32(12, frame.payload.length);
  view.setBigUint64(16, BigInt(frame.ptsUs));
  view.setBigUint64(24, BigInt(frame.captureUs));
  view.setUint32(32, Math.min(Math.max(frame.durationUs, 0), U32 - 1));
  view.setUint32(36, delta(frame.grabbedUs));
  view.setUint32(40, delta(frame.convertedUs));
  view.setUint32(44, delta(frame.encodedUs));
  bytes.set(frame.payload, FRAME_HEADER_BYTES);
  return bytes;
}
