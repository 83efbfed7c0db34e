/**
 * Hooks for tests and for the curious (`player.debug`); none of them costs anything until called.
 * Not a stable interface.
 */

/** @typedef {import('../types.js').ToWorker} ToWorker */
/** @typedef {Extract<ToWorker, {type: 'debug'}>['command']} Command */
/** @typedef {{width: number, height: number, data: Uint8ClampedArray, pts: number, group: number, index: number}} Pixels */
/** @typedef {{group: number, index: number, ptsUs: number, paintUs: number, latencyMs: number, skewMs: number | null}} PaintRecord */
/**
 * @typedef {{arrivalMs: number, framesReceived: number, framesDecoded: number, outOfOrder: number, lost: number, dropped: number,
 *   frames: string[]}} PathReceived `arrivalMs`: from timestamp to arrival of the newest frame
 * @typedef {PathReceived & {late: number, audio: PathReceived}} Received
 */

export class Debug {
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */ #waiting = new Map();
  #last = 0;
  /** @type {(message: ToWorker) => void} */ #post;
  /** @type {(count: number) => Promise<Float32Array>} */ #samples;

  /** @param {(message: ToWorker) => void} post @param {(count: number) => Promise<Float32Array>} samples */
  constructor(post, samples) {
    this.#post = post;
    this.#samples = samples;
  }

  /** @param {Command} command @returns {Promise<any>} */
  #ask(command) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#post({ type: 'debug', id, command });
    });
  }

  /** @param {{id: number, value?: unknown, error?: string}} answer */
  answer({ id, value, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }

  /** Feeds the video decoder a chunk of garbage; the player must recover by itself. @returns {Promise<void>} */
  failDecoder() {
    return this.#ask('failDecoder');
  }

  /** Drops the session as a lost network would; the player must reconnect by itself. @returns {Promise<void>} */
  dropSession() {
    return this.#ask('dropSession');
  }

  /** RGBA pixels of the frame painted next (or last, if none comes within a second). @returns {Promise<Pixels>} */
  grab() {
    return this.#ask('grab');
  }

  /** The last 600 frames painted, oldest first. @returns {Promise<PaintRecord[]>} */
  frames() {
    return this.#ask('frames');
  }

  /** Counters, and the last 4096 frames received as "group:index", oldest first. @returns {Promise<Received>} */
  received() {
    return this.#ask('received');
  }

  /** The next `count` samples that the worklet puts out (first channel, before mute). @param {number} [count] */
  audio(count = 48000) {
    return this.#samples(count);
  }
}
