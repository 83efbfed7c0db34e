/**
 * The path of the sound: from the wire in order through an AudioDecoder for each rendition to the playout.
 * Sound is decoded even while it cannot be heard, so that it begins at once. Before the gateway goes over
 * to another rendition it sends both for a moment; what is heard goes over where the old one ends.
 */

import { Jitter } from '../media/jitter.js';
import { SoundOrder } from '../media/sound_order.js';
import { Recent } from '../media/statistics.js';
import { Playout } from './playout.js';
import { PortWriter, SharedWriter } from './ring_writer.js';
import { levelsOf } from './samples.js';
import { OUTPUT_RATE, shapeOf, SoundDecoder } from './sound_decoder.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {import('./sound_decoder.js').Samples} Samples */
/** @typedef {import('./sound.js').Sound} Sound */
/** @typedef {import('../media/clock.js').ClockSync} ClockSync */
/** @typedef {import('../media/messages.js').Message} Message */

const PATIENCE_US = 300_000; // for a packet that is missing, if the ring holds so much; then its place is filled
const SILENT_PATIENCE_US = 60_000; // while nothing is heard that could not wait
const TAIL_US = 60_000; // for what may be missing of a group when the next one is there
const MAX_WAITING = 100; // packets before the catalog has told how to decode them
const NEW_TIMELINE_US = 1_000_000; // so far back a source has begun anew

export class AudioPath {
  received = 0;
  decoded = 0;
  outOfOrder = 0;
  errors = 0;
  names = /** @type {Recent<string>} */ (new Recent(4096));
  running = false;
  jitter = new Jitter();
  /** @type {Frame | null} */ newest = null;
  /** The last in order. @type {Frame | null} */ delivered = null;
  /** What is older came late because nothing came at all for a while, which is no jitter. */ silentUntilUs = -Infinity;
  /** What is heard, or was decoded last where nothing is. */ rendition = -1;
  /** @type {SoundOrder<Frame>} */ #order = new SoundOrder({ patienceUs: PATIENCE_US, tailUs: TAIL_US });
  /** @type {Map<number, Rendition>} */ #renditions = new Map();
  /** @type {Map<number, SoundDecoder>} */ #decoders = new Map();
  /** @type {Frame[]} */ #waiting = [];
  #channels = 0;
  #lastPts = -Infinity;
  #endUs = -Infinity; // of what was decoded of the rendition that is heard
  #fedUs = 0;
  #decodeUs = 2_000; // smoothed
  /** Packets that were given up before they came to a decoder. */ undecoded = 0;
  #lostBefore = 0;
  #droppedBefore = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @param {Pick<Sound, 'timeline' | 'post' | 'measures' | 'onDelivered' | 'renditions' | 'running' | 'outputUs'>} sound what was told before this was here */
  constructor(sound) {
    this.sound = sound;
    this.playout = new Playout(sound.timeline);
    this.configure(sound.renditions);
    this.setOutput(sound.running, sound.outputUs);
  }

  get codec() {
    return this.#renditions.get(this.rendition)?.codec ?? '';
  }

  /** @param {Rendition[]} renditions how to decode each */
  configure(renditions) {
    this.#renditions = new Map(renditions.map((rendition) => [rendition.id, rendition]));
    for (const [id, decoder] of this.#decoders) {
      const rendition = this.#renditions.get(id);
      if (!rendition || shapeOf(rendition) !== decoder.shape) this.#drop(id);
    }
    for (const frame of this.#waiting.splice(0)) this.#decode(frame);
  }

  /** @param {Extract<import('../types.js').ToWorker, {type: 'audioOutput'}>} output the worklet's end of the ring */
  setWriter({ ring, port, channels, capacity, sampleRate }) {
    if (ring) this.playout.setWriter(new SharedWriter(ring, channels, capacity), sampleRate);
    else if (port) this.playout.setWriter(new PortWriter(port, channels, capacity), sampleRate);
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
    if (frame.ptsUs >= this.silentUntilUs) this.#measure(frame);
    this.#deliver(this.#order.push(frame, frame.arrivalUs));
  }

  /** @param {Frame} frame */
  #measure({ ptsUs, arrivalUs }) {
    this.jitter.add(arrivalUs - ptsUs);
    this.playout.arrived(ptsUs, arrivalUs);
    this.playout.need.add(arrivalUs - ptsUs + this.#decodeUs, arrivalUs);
  }

  /** That frame will not come. @param {import('./session.js').Position} frame */
  lose(frame) {
    this.#deliver(this.#order.lost(frame.rendition, frame.group, frame.index, nowUs()));
  }

  /** @param {Frame[]} frames */
  #deliver(frames) {
    for (const frame of frames) {
      this.delivered = frame;
      this.sound.onDelivered();
      this.#decode(frame);
    }
    clearTimeout(this.#timer);
    const timeout = this.#order.nextTimeout();
    if (timeout === null) return;
    const now = nowUs();
    const waitUs = Math.min(timeout - now, this.playout.patienceUs ?? timeout - now - PATIENCE_US + SILENT_PATIENCE_US);
    this.#timer = setTimeout(() => this.#deliver(this.#order.advance(Math.max(timeout, nowUs()))), Math.max(1, waitUs / 1000));
  }

  /** @param {Frame} frame */
  #decode(frame) {
    if (!this.#renditions.size) {
      this.#waiting.push(frame);
      if (this.#waiting.length > MAX_WAITING) this.#giveUp(this.#waiting.splice(0, 1));
      return;
    }
    const rendition = this.#renditions.get(frame.rendition);
    if (!rendition) return this.#giveUp([frame]); // of a catalog that is over
    this.names.push(`${frame.group}:${frame.index}`);
    this.#fedUs = nowUs();
    this.#decoderOf(rendition).decode(frame);
  }

  /** How they are to be decoded was not known in time. @param {Frame[]} frames */
  #giveUp(frames) {
    this.undecoded += frames.length;
  }

  /** @param {Rendition} rendition */
  #decoderOf(rendition) {
    const { id } = rendition;
    let decoder = this.#decoders.get(id);
    if (!decoder) {
      decoder = new SoundDecoder(rendition, (samples) => this.#take(id, samples), () => this.errors++);
      this.#decoders.set(id, decoder);
    }
    return decoder;
  }

  /** @param {number} id of a rendition */
  #drop(id) {
    this.#decoders.get(id)?.close();
    this.#decoders.delete(id);
  }

  /** @param {number} rendition @param {Samples} samples */
  #take(rendition, samples) {
    const { planes, ptsUs, durationUs } = samples;
    const now = nowUs();
    this.decoded++;
    if (rendition !== this.rendition && !this.#goesOver(rendition, ptsUs + durationUs)) return;
    if (ptsUs < this.#lastPts) this.outOfOrder++;
    this.#lastPts = ptsUs;
    this.#endUs = ptsUs + durationUs;
    this.#decodeUs += (now - this.#fedUs - this.#decodeUs) / 16;
    if (planes.length !== this.#channels) {
      this.#channels = planes.length;
      this.sound.post({ type: 'audioFormat', channels: planes.length, sampleRate: OUTPUT_RATE });
    }
    if (this.sound.measures) this.sound.post({ type: 'levels', levels: levelsOf(planes) });
    if (this.running && this.playout.channels === planes.length) this.playout.write(planes, ptsUs, now);
  }

  /**
   * Whether another rendition is heard from now on: not while what it says has been heard already, so that
   * its decoder may converge, and what comes late of one that was left is not heard twice.
   * @param {number} rendition @param {number} endUs of its samples
   */
  #goesOver(rendition, endUs) {
    if (endUs <= this.#endUs && endUs > this.#endUs - NEW_TIMELINE_US) return false;
    this.rendition = rendition;
    this.#lastPts = -Infinity;
    for (const other of [...this.#decoders.keys()]) if (other !== rendition) this.#drop(other);
    return true;
  }

  /** Times that packets never came and were skipped. */
  get lost() {
    return this.#lostBefore + this.#order.counters.gaps;
  }

  /** Packets of before its beginning. */
  get before() {
    return this.#order.counters.before;
  }

  /** Late and discarded packets. */
  get dropped() {
    const { late, discarded } = this.#order.counters;
    return this.#droppedBefore + this.playout.late + late + discarded + this.undecoded;
  }

  /** What PlayerStats say of it. */
  get stats() {
    const { playout } = this;
    return {
      audioCodec: this.codec,
      audioFramesReceived: this.received, audioFramesDecoded: this.decoded, audioFramesDropped: this.dropped,
      audioFramesConcealed: playout.concealedPackets, audioConcealedMs: Math.round(playout.concealedMs),
      audioUnderruns: playout.underruns, audioPlayedMs: Math.round(playout.playedMs),
      audioBufferMs: Math.round(playout.bufferMs), audioTargetMs: Math.round(playout.targetMs),
      audioOutputMs: Math.round(playout.outputUs / 10) / 100, audioRate: playout.speed,
    };
  }

  /** @param {ClockSync} clock @returns {Message | null} */
  feedback(clock) {
    if (!this.newest) return null;
    const { track, group, index, arrivalUs } = this.newest;
    return {
      kind: 'feedback', track, group, index, arrival_us: Math.round(clock.toGateway(arrivalUs)),
      frames_received: this.received, frames_decoded: this.decoded, frames_dropped: this.dropped,
      frames_painted: 0, decode_queue: 0, latency_us: 0, jitter_us: Math.round(this.jitter.value),
    };
  }

  /** @param {boolean} goesOn whether what is heard goes on with what comes: what was heard already is left out */
  newSession(goesOn) {
    clearTimeout(this.#timer);
    if (!goesOn) this.jitter.reset();
    this.#lostBefore = this.lost;
    this.#giveUp(this.#waiting.splice(0));
    this.#droppedBefore = this.dropped - this.playout.late - this.undecoded;
    this.#order = new SoundOrder({ patienceUs: PATIENCE_US, tailUs: TAIL_US });
    this.newest = this.delivered = null;
    this.#lastPts = -Infinity;
    this.rendition = -1;
    if (goesOn) return;
    this.#endUs = this.silentUntilUs = -Infinity;
    this.playout.newSession();
  }
}
