/**
 * Sound of any rate to the rate at which it is played: a polyphase filter, exact to the sample over any
 * time, since the ratio of two rates is a fraction. Pure.
 */

const ZEROS = 16; // crossings of the sinc to each side; the passband ends at 0.9 of the lower Nyquist rate
const PASS = 0.95;
const SAME_US = 4_000; // timestamps that differ less are continuous

/** @param {number} a @param {number} b @returns {number} */
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

export class Resampler {
  #up;
  #down;
  #half; // input samples to each side of an output sample
  /** @type {Float32Array[]} one for each fraction of an input sample at which an output sample lies */ #filters;
  /** @type {Float32Array<ArrayBuffer>[]} input samples that are still needed, one array per channel */ #held;
  #at; // index in them of the last one before the next output sample
  #phase = 0; // how far behind that one it lies, of #up

  /** @param {number} from Hz @param {number} to Hz @param {number} channels */
  constructor(from, to, channels) {
    const common = gcd(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const cutoff = PASS * Math.min(1, to / from);
    this.#half = Math.ceil(ZEROS / cutoff);
    this.#filters = Array.from({ length: this.#up }, (_, phase) => this.#filter(phase / this.#up, cutoff));
    // As if silence had come before.
    this.#held = Array.from({ length: channels }, () => new Float32Array(this.#half - 1));
    this.#at = this.#half - 1;
    this.from = from;
  }

  /** Weights of the inputs around an output that lies so far behind one of them. @param {number} fraction @param {number} cutoff */
  #filter(fraction, cutoff) {
    const half = this.#half;
    const weights = Float32Array.from({ length: 2 * half }, (_, i) => {
      const x = i - (half - 1) - fraction;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
      return sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / half)) * cutoff;
    });
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return weights.map((weight) => weight / sum);
  }

  /**
   * The next samples, in order.
   * @param {Float32Array[]} planes one per channel
   * @returns {{planes: Float32Array<ArrayBuffer>[], aheadUs: number}} and how much earlier the first one out is than the first one in
   */
  process(planes) {
    const count = planes[0]?.length ?? 0;
    const before = this.#held[0]?.length ?? 0;
    const inputs = this.#held.map((held, channel) => {
      const joined = new Float32Array(before + count);
      joined.set(held);
      joined.set(planes[channel] ?? [], before);
      return joined;
    });
    const aheadUs = ((before - this.#at - this.#phase / this.#up) / this.from) * 1e6;
    const outputs = this.#filterAll(inputs, before + count);
    const used = Math.min(this.#at - this.#half + 1, before + count);
    this.#held = inputs.map((input) => input.slice(used));
    this.#at -= used;
    return { planes: outputs, aheadUs };
  }

  /** @param {Float32Array[]} inputs @param {number} length */
  #filterAll(inputs, length) {
    const half = this.#half;
    /** @type {number[]} */ const places = [];
    /** @type {number[]} */ const phases = [];
    while (this.#at + half < length) {
      places.push(this.#at - half + 1);
      phases.push(this.#phase);
      this.#phase += this.#down;
      this.#at += Math.floor(this.#phase / this.#up);
      this.#phase %= this.#up;
    }
    return inputs.map((input) => Float32Array.from(places, (place, i) => {
      const weights = /** @type {Float32Array} */ (this.#filters[/** @type {number} */ (phases[i])]);
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += /** @type {number} */ (input[place + k]) * /** @type {number} */ (weights[k]);
      return sum;
    }));
  }
}

/** Sound with timestamps, of a rate that may change, to one rate. What does not follow begins anew. */
export class StreamResampler {
  #to;
  #endUs = -Infinity;
  /** @type {Resampler | null} */ #resampler = null;

  /** @param {number} to Hz */
  constructor(to) {
    this.#to = to;
  }

  /** @param {Float32Array[]} planes one per channel, as many as ever @param {number} rate Hz @param {number} ptsUs of the first sample */
  process(planes, rate, ptsUs) {
    const follows = Math.abs(ptsUs - this.#endUs) < SAME_US && this.#resampler?.from === rate;
    if (!this.#resampler || !follows) this.#resampler = new Resampler(rate, this.#to, planes.length);
    this.#endUs = ptsUs + ((planes[0]?.length ?? 0) / rate) * 1e6;
    const { planes: made, aheadUs } = this.#resampler.process(planes);
    return { planes: made, ptsUs: ptsUs - aheadUs };
  }
}
