/**
 * VideoDecoder that mends itself: an error drops it, and the next keyframe builds a new one. Each
 * decoded VideoFrame is handed on with what is known of it; the receiver owns and closes it. Where a
 * keyframe wants another decoder, the one that is there first gives out what it still holds.
 */

import { codecFromAnnexB } from '../media/h264.js';
import { Inside } from '../media/inside.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {{frame: Frame, decodeUs: number, decodedUs: number}} FrameInfo local times */

const SOFTWARE_AFTER = 2; // errors in a row: perhaps the hardware decoder is to blame
const STUCK_US = 1_500_000;
export const NEW_TIMELINE_US = 1_000_000; // so far back a source has begun anew, and nothing is late
const STUCK_CHUNKS = 4;
export const MAX_REORDER = 16; // pictures that a decoder may hold back (ITU-T H.264 A.3.1, H.265 A.4.2)

export class RestartingDecoder {
  errors = 0;
  codec = '';
  /** What the catalog says of each. @type {Map<number, Rendition>} */ renditions = new Map();
  /** @type {VideoDecoder | null} */ #decoder = null;
  /** @type {Inside<FrameInfo>} */ #inside = new Inside();
  #rendition = -1; // of the chunk that went in last
  #draining = false;
  #nextUs = 0; // timestamp of the keyframe that waits until it is drained
  #givenUp = 0;
  /** @type {(picture: VideoFrame, info: FrameInfo) => void} */ #output;
  /** @type {(message: string) => void} */ #failed;
  /** @type {() => void} */ #ready;
  #errorsInRow = 0;
  #lastOutputUs = 0;

  /**
   * @param {(picture: VideoFrame, info: FrameInfo) => void} output
   * @param {(message: string) => void} failed called after an error; a keyframe must come now
   * @param {() => void} ready called when it takes frames again, see accepts()
   */
  constructor(output, failed, ready) {
    this.#output = output;
    this.#failed = failed;
    this.#ready = ready;
  }

  get queue() {
    return this.#decoder?.decodeQueueSize ?? 0;
  }

  /** How many chunks went in and have not come out. */
  get inside() {
    return this.#inside.count;
  }

  /** By how many pictures the output may lag behind the input. */
  get reorder() {
    return this.#reorderOf(this.#rendition);
  }

  /** Chunks that never became a picture. */
  get dropped() {
    return this.#givenUp + this.#inside.swallowed;
  }

  /** Pictures that came out after one that is to be shown later. */
  get outOfOrder() {
    return this.#inside.outOfOrder;
  }

  /** True when only a keyframe is of use. */
  get needsKeyframe() {
    return this.#decoder === null;
  }

  /** @param {number} rendition */
  #reorderOf(rendition) {
    return this.renditions.get(rendition)?.reorder_frames ?? 0;
  }

  /**
   * False: not yet. A keyframe of another coding waits until the pictures before it are out; ready()
   * tells when that is.
   * @param {Frame} frame that is to be decoded next
   */
  accepts(frame) {
    if (this.#draining) return false;
    const decoder = this.#decoder;
    if (!decoder || !frame.keyframe || this.#inside.count === 0 || !this.#differs(frame)) return true;
    this.#draining = true;
    this.#nextUs = frame.ptsUs;
    this.#lastOutputUs = nowUs();
    decoder.flush().catch(() => {}).then(() => {
      if (this.#decoder !== decoder) return; // it failed meanwhile
      this.#drop();
      this.#ready();
    });
    return false;
  }

  /** Whether a keyframe wants another decoder. @param {Frame} frame */
  #differs(frame) {
    if (this.#codecOf(frame) !== this.codec) return true;
    // Decoders may throw away what they hold when a picture of another size comes.
    return frame.rendition !== this.#rendition && Math.max(this.reorder, this.#reorderOf(frame.rendition)) > 0;
  }

  /** @param {Frame} frame a keyframe */
  #codecOf(frame) {
    return codecFromAnnexB(frame.payload) ?? this.renditions.get(frame.rendition)?.codec ?? this.codec;
  }

  /** @param {Frame} frame @returns {boolean} false: not usable, a keyframe is needed */
  decode(frame) {
    if (frame.keyframe) this.#prepare(frame);
    if (!this.#decoder) {
      this.#givenUp++;
      return false;
    }
    const info = { frame, decodeUs: nowUs(), decodedUs: 0 };
    if (this.#inside.count === 0) this.#lastOutputUs = info.decodeUs;
    this.#rendition = frame.rendition;
    this.#inside.put(info);
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
    const codec = this.#codecOf(frame);
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
    const info = this.#inside.take(picture.timestamp);
    if (!info) return picture.close(); // garbage that happened to decode, or too late to be shown
    this.#errorsInRow = 0;
    this.#lastOutputUs = info.decodedUs = nowUs();
    const repeated = picture.timestamp - this.#nextUs;
    if (this.#draining && repeated >= 0 && repeated < NEW_TIMELINE_US) { // the next rendition shows it
      this.#givenUp++;
      return picture.close();
    }
    this.#output(picture, info);
  }

  /** Chunks go in and nothing comes out: that is an error too. @param {number} now local µs */
  checkStuck(now) {
    const enough = STUCK_CHUNKS + (this.reorder ? MAX_REORDER : 0);
    const silent = now - this.#lastOutputUs > STUCK_US;
    if (silent && (this.#draining || this.#inside.count >= enough)) this.#fail('it gave nothing out');
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
    this.#draining = false;
    this.#givenUp += this.#inside.clear();
    if (decoder && decoder.state !== 'closed') decoder.close();
  }

  /** What is decoded from now on is of another instance, and shows the same as what was before. */
  part() {
    this.#inside.part();
  }

  /** Throws away what is inside; a keyframe is needed. */
  reset() {
    this.#drop();
  }

  /** For tests: see player.debug.failDecoder(). */
  feedGarbage() {
    const garbage = Uint8Array.from({ length: 4096 }, (_, i) => (i * 73 + (i >> 3) * 151) & 0xff);
    this.#feed('key', (this.#inside.last?.frame.ptsUs ?? nowUs()) + 1, garbage);
    // Some decoders swallow garbage without a word; what matters is the mending, so fail it then.
    const before = this.errors;
    setTimeout(() => { if (this.errors === before) this.#fail('garbage was fed to it'); }, 50);
  }
}
