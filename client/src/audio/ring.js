/**
 * The ring of samples between the worker, which writes, and the worklet, which reads: planar
 * 32-bit floats behind a few shared counters. One writer, one reader, no locks. It sits on a
 * SharedArrayBuffer where the page is cross-origin isolated; else on memory of the worklet, which
 * then gets the samples as messages and sends the counters back.
 *
 * Imports nothing; runs in page, worker, worklet and node.
 */

export const RING_SECONDS = 2;

/** Indices into the counters (Int32). Positions count samples and wrap at 2^31. */
export const WRITTEN = 0; // samples written, by the writer
export const READ = 1; // samples taken out (played or skipped), by the reader
export const PLAYED = 2; // samples played, by the reader
export const UNDERRUNS = 3; // by the reader
export const RATE = 4; // wanted speed in parts per million around natural, by the writer: what it would make up in a second
export const START = 5; // samples to gather before play starts or starts again, by the writer
export const SKIP_TO = 6; // position to jump to, by the writer; honoured when it lies ahead
export const RUNNING = 7; // 1 while samples are being played, by the reader
export const HOLD = 8; // silence to insert, samples in all since the start, by the writer
export const CONCEALED = 9; // samples made up where the ring was dry, by the reader
const COUNTERS = 16;

/** Samples that stay readable behind the reader, which makes up from them what is missing. */
export const KEPT = 2400;

/** @param {number} channels @param {number} capacity samples per channel */
export function ringBytes(channels, capacity) {
  return COUNTERS * 4 + channels * capacity * 4;
}

export class Ring {
  /** @type {Int32Array} */ counters;
  /** @type {Float32Array[]} */ planes;
  /** @type {number} */ capacity;

  /**
   * @param {ArrayBuffer | SharedArrayBuffer} buffer of ringBytes(channels, capacity)
   * @param {number} channels @param {number} capacity
   */
  constructor(buffer, channels, capacity) {
    this.capacity = capacity;
    this.counters = new Int32Array(buffer, 0, COUNTERS);
    this.planes = Array.from({ length: channels },
      (_, i) => new Float32Array(buffer, COUNTERS * 4 + i * capacity * 4, capacity));
  }

  /** @param {number} counter */
  get(counter) {
    return Atomics.load(this.counters, counter);
  }

  /** @param {number} counter @param {number} value */
  set(counter, value) {
    Atomics.store(this.counters, counter, value);
  }

  /** Samples that wait. */
  get depth() {
    return (this.get(WRITTEN) - this.get(READ)) | 0;
  }

  /**
   * @param {Float32Array[]} planes one per channel; missing channels repeat the last
   * @returns {boolean} false: no room, nothing written
   */
  write(planes) {
    const count = planes[0]?.length ?? 0;
    if (this.depth + count > this.capacity - KEPT) return false;
    const written = this.get(WRITTEN);
    this.planes.forEach((plane, channel) => {
      const source = planes[Math.min(channel, planes.length - 1)];
      if (source) copyIn(plane, this.#at(written), source);
    });
    this.set(WRITTEN, (written + count) | 0);
    return true;
  }

  /** @param {number} position */
  #at(position) {
    return (position >>> 0) % this.capacity;
  }

  /** One sample of each channel at a position. @param {number} channel @param {number} position */
  sample(channel, position) {
    return /** @type {Float32Array} */ (this.planes[channel])[this.#at(position)] ?? 0;
  }
}

/** @param {Float32Array} plane @param {number} at @param {Float32Array} source */
function copyIn(plane, at, source) {
  const head = Math.min(source.length, plane.length - at);
  plane.set(source.subarray(0, head), at);
  if (head < source.length) plane.set(source.subarray(head), 0);
}
