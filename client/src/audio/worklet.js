/**
 * AudioWorklet: puts the ring's samples out. With shared memory the worker writes them itself;
 * else they come as messages on a port of its own and the counters go back the same way.
 */

import { Ring, ringBytes } from './ring.js';
import { RingPlayer } from './ring_player.js';

const REPORT_BLOCKS = 4; // every 10 ms or so: the worker steers by these counters

class RingProcessor extends AudioWorkletProcessor {
  /** @type {Ring} */ #ring;
  /** @type {RingPlayer} */ #player;
  /** @type {MessagePort | null} */ #link = null;
  /** @type {Float32Array | null} */ #tap = null;
  #tapFill = 0;
  #blocks = 0;

  /** @param {{processorOptions: {ring: SharedArrayBuffer | null, channels: number, capacity: number}}} options */
  constructor({ processorOptions: { ring, channels, capacity } }) {
    super();
    this.#ring = new Ring(ring ?? new ArrayBuffer(ringBytes(channels, capacity)), channels, capacity);
    this.#player = new RingPlayer(this.#ring);
    this.port.onmessage = (event) => this.#command(event.data);
  }

  /** @param {{link?: MessagePort, tap?: number}} command */
  #command({ link, tap }) {
    if (tap) {
      this.#tap = new Float32Array(tap);
      this.#tapFill = 0;
    }
    if (!link) return;
    this.#link = link;
    link.onmessage = ({ data }) => {
      if (data.planes) this.#ring.write(data.planes);
      else this.#ring.set(data.counter, data.value);
    };
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs */
  process(_inputs, outputs) {
    const [out] = outputs;
    if (!out) return true;
    this.#player.render(out);
    if (this.#tap && out[0]) this.#record(this.#tap, out[0]);
    if (this.#link && ++this.#blocks % REPORT_BLOCKS === 0) this.#link.postMessage(this.#ring.counters.slice());
    return true;
  }

  /** @param {Float32Array} tap @param {Float32Array} plane */
  #record(tap, plane) {
    const count = Math.min(plane.length, tap.length - this.#tapFill);
    tap.set(plane.subarray(0, count), this.#tapFill);
    this.#tapFill += count;
    if (this.#tapFill < tap.length) return;
    this.port.postMessage({ samples: tap }, [tap.buffer]);
    this.#tap = null;
  }
}

registerProcessor('wtgateway-ring', RingProcessor);
