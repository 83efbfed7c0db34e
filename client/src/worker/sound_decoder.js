/** One rendition of sound to samples at the rate that is played. Each packet stands alone. */

import { planesOf } from './samples.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {import('./resampler.js').StreamResampler} StreamResampler */
/** @typedef {{planes: Float32Array[], ptsUs: number, durationUs: number}} Samples at OUTPUT_RATE */

export const OUTPUT_RATE = 48000;
const SAME_US = 4_000;
const MAX_FED = 64; // packets inside a decoder

/** @returns {Promise<typeof import('./resampler.js')>} not joined to this script: most sound needs none */
const loadResampler = () => import(new URL('./resampler.js', import.meta.url).href);
/** @type {typeof import('./resampler.js') | null} */ let resampling = null;
/** @type {Promise<void> | null} */ let loading = null;

/** Until it is there, what needs it is not heard. */
function needResampler() {
  loading ??= loadResampler().then((module) => void (resampling = module), () => void (loading = null));
}

/** @param {Rendition} rendition @returns {AudioDecoderConfig} */
function configOf({ codec, sample_rate: sampleRate, channels, description }) {
  return {
    codec, sampleRate: sampleRate || OUTPUT_RATE, numberOfChannels: channels || 2,
    ...(description?.length ? { description: /** @type {BufferSource} */ (description) } : {}),
  };
}

/** What is to be decoded otherwise has another one. @param {Rendition} rendition */
export function shapeOf({ codec, sample_rate: sampleRate, channels, description }) {
  return `${codec} ${channels}@${sampleRate} ${description?.join() ?? ''}`;
}

export class SoundDecoder {
  /** @type {AudioDecoder | null} */ #decoder = null;
  /** @type {StreamResampler | null} */ #resampler = null;
  #rendition;
  #output;
  #failed;
  /** @type {number[]} timestamps of what the decoder was given and has not put out */ #fed = [];
  #behindUs = 0;

  /**
   * @param {Rendition} rendition
   * @param {(samples: Samples) => void} output
   * @param {() => void} failed
   */
  constructor(rendition, output, failed) {
    this.#rendition = rendition;
    this.#output = output;
    this.#failed = failed;
    this.shape = shapeOf(rendition);
    if ((rendition.sample_rate || OUTPUT_RATE) !== OUTPUT_RATE) needResampler();
  }

  /** @param {Frame} frame */
  decode({ ptsUs, payload }) {
    const data = /** @type {BufferSource} */ (payload);
    try {
      this.#decoder ??= this.#open();
      this.#fed.push(ptsUs);
      if (this.#fed.length > MAX_FED) this.#fed.shift();
      this.#decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: ptsUs, data }));
    } catch {
      this.#fail();
    }
  }

  #open() {
    this.#fed = [];
    this.#behindUs = 0;
    const decoder = new AudioDecoder({
      output: (data) => this.#take(data),
      error: () => { if (this.#decoder === decoder) this.#fail(); },
    });
    decoder.configure(configOf(this.#rendition));
    return decoder;
  }

  /** @param {AudioData} data */
  #take(data) {
    const { sampleRate, numberOfFrames } = data;
    const timestamp = this.#timestamp(data.timestamp);
    const planes = planesOf(data);
    data.close();
    const samples = { planes, ptsUs: timestamp, durationUs: (numberOfFrames / sampleRate) * 1e6 };
    if (sampleRate === OUTPUT_RATE) return this.#output(samples);
    if (!resampling) return needResampler();
    this.#resampler ??= new resampling.StreamResampler(OUTPUT_RATE);
    this.#output({ ...samples, ...this.#resampler.process(planes, sampleRate, timestamp) });
  }

  /**
   * Chromium counts samples from the first packet on: after one that is missing, its timestamps are those of
   * what came before. What a decoder was given tells how far they are behind.
   * @param {number} saidUs @returns {number} µs
   */
  #timestamp(saidUs) {
    const fed = this.#fed;
    while (fed.length > 1 && /** @type {number} */ (fed[1]) <= saidUs + SAME_US) fed.shift();
    const ptsUs = fed.shift();
    if (ptsUs !== undefined) this.#behindUs = ptsUs > saidUs + SAME_US ? ptsUs - saidUs : 0;
    return saidUs + this.#behindUs;
  }

  /** The next packet builds a new decoder. */
  #fail() {
    this.close();
    this.#failed();
  }

  close() {
    const decoder = this.#decoder;
    this.#decoder = null;
    if (decoder && decoder.state !== 'closed') decoder.close();
  }
}
