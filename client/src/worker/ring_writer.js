/**
 * The worker's end of the ring: on shared memory it writes samples itself; else it posts them to
 * the worklet and works with the counters that come back. Same methods either way.
 */

import { KEPT, READ, Ring, ringBytes, WRITTEN } from '../audio/ring.js';

export class SharedWriter {
  /** @param {SharedArrayBuffer} buffer @param {number} channels @param {number} capacity */
  constructor(buffer, channels, capacity) {
    this.ring = new Ring(buffer, channels, capacity);
  }

  /** @param {Float32Array[]} planes @returns {boolean} false: no room */
  write(planes) {
    return this.ring.write(planes);
  }

  /** @param {number} counter */
  get(counter) {
    return this.ring.get(counter);
  }

  /** @param {number} counter @param {number} value */
  set(counter, value) {
    this.ring.set(counter, value);
  }

  get depth() {
    return this.ring.depth;
  }

  close() {}
}

export class PortWriter {
  #written = 0;
  /** @type {Map<number, number>} what the worklet was told; its reports may be older */ #told = new Map();

  /** @param {MessagePort} port @param {number} channels @param {number} capacity */
  constructor(port, channels, capacity) {
    this.port = port;
    this.ring = new Ring(new ArrayBuffer(ringBytes(channels, 0)), channels, 0); // its counters only
    this.capacity = capacity;
    port.onmessage = ({ data }) => this.ring.counters.set(data);
  }

  /** @param {Float32Array[]} planes @returns {boolean} false: no room */
  write(planes) {
    const count = planes[0]?.length ?? 0;
    if (this.depth + count > this.capacity - KEPT) return false;
    this.port.postMessage({ planes }, planes.map((plane) => plane.buffer));
    this.#written = (this.#written + count) | 0;
    return true;
  }

  /** @param {number} counter */
  get(counter) {
    return counter === WRITTEN ? this.#written : this.ring.get(counter);
  }

  /** @param {number} counter @param {number} value */
  set(counter, value) {
    if (this.#told.get(counter) === value) return;
    this.#told.set(counter, value);
    this.port.postMessage({ counter, value });
  }

  get depth() {
    return (this.#written - this.ring.get(READ)) | 0;
  }

  close() {
    this.port.close();
  }
}
