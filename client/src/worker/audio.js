/**
 * The path of the sound: from the wire in order through the AudioDecoder to the playout. Owns
 * every AudioData. Sound is decoded even while it cannot be heard, so that it begins at once.
 */

import { FrameOrder } from '../media/ordering.js';
import { Recent } from '../media/statistics.js';
import { Playout } from './playout.js';
import { levelsOf, planesOf } from './samples.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {import('./timeline.js').Timeline} Timeline */

const PATIENCE_US = 60_000; // a packet that is missing longer is bridged
const MAX_WAITING = 100; // packets before the catalog has told how to decode them

export class AudioPath {
  received = 0;
  decoded = 0;
  outOfOrder = 0;
  errors = 0;
  codec = '';
  names = /** @type {Recent<string>} */ (new Recent(4096));
  running = false;
  measures = false; // whether someone looks at the levels
  /** @type {Frame | null} */ newest = null;
  /** @type {FrameOrder<Frame>} */ #order = new FrameOrder({ independent: true, patienceUs: PATIENCE_US });
  /** @type {AudioDecoder | null} */ #decoder = null;
  /** @type {AudioDecoderConfig | null} */ #config = null;
  /** @type {Frame[]} */ #waiting = [];
  #format = '';
  #lastPts = -Infinity;
  #lostBefore = 0;
  #droppedBefore = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {Timeline} timeline
   * @param {(channels: number, sampleRate: number) => void} format told when samples of a new shape come
   * @param {(levels: number[]) => void} levels told of every packet's while `measures`
   */
  constructor(timeline, format, levels) {
    this.playout = new Playout(timeline);
    this.onFormat = format;
    this.onLevels = levels;
  }

  /** @param {Rendition} rendition how to decode */
  configure({ codec, sample_rate: sampleRate, channels, description }) {
    const known = this.#config;
    const config = {
      codec, sampleRate: sampleRate || 48000, numberOfChannels: channels || 2,
      ...(description?.length ? { description: /** @type {BufferSource} */ (description) } : {}),
    };
    if (known && known.codec === codec && known.numberOfChannels === config.numberOfChannels) return;
    this.codec = codec;
    this.#config = config;
    this.#closeDecoder();
    for (const frame of this.#waiting.splice(0)) this.#decode(frame);
  }

  /** @param {boolean} running whether the AudioContext takes samples @param {number} outputUs from the worklet to the ear */
  setOutput(running, outputUs) {
    this.playout.outputUs = outputUs;
    if (running === this.running) return;
    this.running = running;
    this.playout.restart();
  }

  /** A frame from the wire. @param {Frame} frame */
  push(frame) {
    this.received++;
    this.newest = frame;
    this.#deliver(this.#order.push(frame, frame.arrivalUs));
  }

  /** A stream was reset inside that frame. @param {Frame} frame */
  lose(frame) {
    this.#deliver(this.#order.lost(frame.group, frame.index, nowUs()));
  }

  /** @param {Frame[]} frames */
  #deliver(frames) {
    for (const frame of frames) this.#decode(frame);
    clearTimeout(this.#timer);
    const timeout = this.#order.nextTimeout();
    if (timeout === null) return;
    this.#timer = setTimeout(() => this.#deliver(this.#order.advance(nowUs())), Math.max(1, (timeout - nowUs()) / 1000));
  }

  /** @param {Frame} frame */
  #decode(frame) {
    if (!this.#config) {
      this.#waiting.push(frame);
      if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
      return;
    }
    this.names.push(`${frame.group}:${frame.index}`);
    const data = /** @type {BufferSource} */ (frame.payload);
    try {
      this.#decoder ??= this.#open(this.#config);
      this.#decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: frame.ptsUs, data }));
    } catch {
      this.#fail();
    }
  }

  /** @param {AudioDecoderConfig} config */
  #open(config) {
    const decoder = new AudioDecoder({
      output: (data) => this.#take(data),
      error: () => { if (this.#decoder === decoder) this.#fail(); },
    });
    decoder.configure(config);
    return decoder;
  }

  /** Every packet can be decoded by itself: the next one simply builds a new decoder. */
  #fail() {
    this.errors++;
    this.#closeDecoder();
  }

  #closeDecoder() {
    const decoder = this.#decoder;
    this.#decoder = null;
    if (decoder && decoder.state !== 'closed') decoder.close();
  }

  /** @param {AudioData} data */
  #take(data) {
    const { timestamp, sampleRate, numberOfChannels } = data;
    const now = nowUs();
    this.decoded++;
    if (timestamp < this.#lastPts) this.outOfOrder++;
    this.#lastPts = timestamp;
    this.playout.need.add(now - timestamp, now);
    const format = `${numberOfChannels}@${sampleRate}`;
    if (format !== this.#format) {
      this.#format = format;
      this.onFormat(numberOfChannels, sampleRate);
    }
    const plays = this.running && this.playout.ready;
    const planes = plays || this.measures ? planesOf(data) : [];
    if (this.measures) this.onLevels(levelsOf(planes));
    if (plays) this.playout.write(planes, timestamp, now);
    data.close();
  }

  /** Times that packets never came and were skipped. */
  get lost() {
    return this.#lostBefore + this.#order.counters.gaps;
  }

  /** Late and discarded packets. */
  get dropped() {
    return this.#droppedBefore + this.playout.late + this.#order.counters.late + this.#order.counters.discarded;
  }

  newSession() {
    clearTimeout(this.#timer);
    this.#lostBefore = this.lost;
    this.#droppedBefore = this.dropped - this.playout.late;
    this.#order = new FrameOrder({ independent: true, patienceUs: PATIENCE_US });
    this.newest = null;
    this.#waiting = [];
    this.#lastPts = -Infinity;
    this.playout.newSession();
  }
}
