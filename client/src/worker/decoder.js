/**
 * VideoDecoder that mends itself: an error drops it, and the next keyframe builds a new one. Each
 * decoded VideoFrame is handed on with what is known of it; the receiver owns and closes it.
 */

import { codecFromAnnexB } from '../media/h264.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {{frame: Frame, decodeUs: number, decodedUs: number}} FrameInfo local times */

const SOFTWARE_AFTER = 2; // errors in a row: perhaps the hardware decoder is to blame
const STUCK_US = 1_500_000;
const STUCK_CHUNKS = 4;

export class RestartingDecoder {
  errors = 0;
  dropped = 0;
  codec = '';
  /** What the catalog says of each rendition. @type {Map<number, string>} */ codecs = new Map();
  /** @type {VideoDecoder | null} */ #decoder = null;
  /** @type {FrameInfo[]} in the decoder, oldest first */ #inside = [];
  /** @type {(picture: VideoFrame, info: FrameInfo) => void} */ #output;
  /** @type {(message: string) => void} */ #failed;
  #errorsInRow = 0;
  #lastOutputUs = 0;

  /**
   * @param {(picture: VideoFrame, info: FrameInfo) => void} output
   * @param {(message: string) => void} failed called after an error; a keyframe must come now
   */
  constructor(output, failed) {
    this.#output = output;
    this.#failed = failed;
  }

  get queue() {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  /** How many chunks went in and have not come out. */
  get inside() {
    return this.#inside.length;
  }

  /** True when only a keyframe is of use. */
  get needsKeyframe() {
    return this.#decoder === null;
  }

  /** @param {Frame} frame @returns {boolean} false: not usable, a keyframe is needed */
  decode(frame) {
    if (frame.keyframe) this.#prepare(frame);
    if (!this.#decoder) {
      this.dropped++;
      return false;
    }
    const info = { frame, decodeUs: nowUs(), decodedUs: 0 };
    if (this.#inside.length === 0) this.#lastOutputUs = info.decodeUs;
    this.#inside.push(info);
    this.#feed(frame.keyframe ? 'key' : 'delta', frame.ptsUs, frame.payload);
    return this.#decoder !== null;
  }

  /** @param {EncodedVideoChunkType} type @param {number} timestamp @param {Uint8Array} data */
  #feed(type, timestamp, data) {
    try {
      this.#decoder?.decode(new EncodedVideoChunk({ type, timestamp, data: /** @type {BufferSource} */ (data) }));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Configures before the first frame, when its codec can be guessed: opening a decoder takes a while. @param {string} codec */
  warm(codec) {
    if (!this.#decoder && codec) this.#open(codec);
  }

  /** A decoder of the keyframe's codec; the one that is there if it fits. @param {Frame} frame */
  #prepare(frame) {
    const codec = codecFromAnnexB(frame.payload) ?? this.codecs.get(frame.rendition) ?? this.codec;
    if (codec && (!this.#decoder || codec !== this.codec)) this.#open(codec);
  }

  /** @param {string} codec */
  #open(codec) {
    this.#drop();
    this.codec = codec;
    const decoder = new VideoDecoder({
      output: (picture) => this.#take(picture),
      error: (error) => { if (this.#decoder === decoder) this.#fail(error); },
    });
    this.#decoder = decoder;
    try {
      decoder.configure({
        codec,
        optimizeForLatency: true,
        ...(this.#errorsInRow >= SOFTWARE_AFTER ? { hardwareAcceleration: 'prefer-software' } : {}),
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {VideoFrame} picture */
  #take(picture) {
    let info = this.#inside.shift();
    while (info && info.frame.ptsUs < picture.timestamp) { // swallowed by the decoder
      this.dropped++;
      info = this.#inside.shift();
    }
    if (!info) return picture.close();
    if (info.frame.ptsUs !== picture.timestamp) { // not one of ours: garbage that happened to decode
      this.#inside.unshift(info);
      return picture.close();
    }
    this.#errorsInRow = 0;
    this.#lastOutputUs = info.decodedUs = nowUs();
    this.#output(picture, info);
  }

  /** Chunks go in and nothing comes out: that is an error too. @param {number} now local µs */
  checkStuck(now) {
    if (this.#inside.length >= STUCK_CHUNKS && now - this.#lastOutputUs > STUCK_US) this.#fail('it gave nothing out');
  }

  /** @param {unknown} error */
  #fail(error) {
    this.errors++;
    this.#errorsInRow++;
    this.#drop();
    this.#failed(error instanceof Error ? error.message : String(error));
  }

  #drop() {
    const decoder = this.#decoder;
    this.#decoder = null;
    this.dropped += this.#inside.length;
    this.#inside = [];
    if (decoder && decoder.state !== 'closed') decoder.close();
  }

  /** Throws away what is inside; a keyframe is needed. */
  reset() {
    this.#drop();
  }

  /** For tests: see player.debug.failDecoder(). */
  feedGarbage() {
    const garbage = Uint8Array.from({ length: 4096 }, (_, i) => (i * 73 + (i >> 3) * 151) & 0xff);
    this.#feed('key', (this.#inside.at(-1)?.frame.ptsUs ?? nowUs()) + 1, garbage);
    // Some decoders swallow garbage without a word; what matters is the mending, so fail it then.
    const before = this.errors;
    setTimeout(() => { if (this.errors === before) this.#fail('garbage was fed to it'); }, 50);
  }
}
