/**
 * The path of the sound: from the wire in order through the AudioDecoder into the ring, at the
 * depth that jitter and latency mode ask for. Late samples are thrown away, gaps are bridged with
 * silence, and the worklet's speed is steered so that nothing piles up. Owns every AudioData.
 */

import { HOLD, PLAYED, RATE, READ, RUNNING, SKIP_TO, START, UNDERRUNS, WRITTEN } from '../audio/ring.js';
import { AudioNeed, steer } from '../media/jitter.js';
import { FrameOrder } from '../media/ordering.js';
import { Recent } from '../media/statistics.js';
import { bridge, planesOf, rampIn } from './samples.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {import('./ring_writer.js').SharedWriter | import('./ring_writer.js').PortWriter} Writer */

const SMOOTHING = 0.1; // of the measured delay, about 200 ms of packets
const SAME_US = 4_000; // timestamps that differ less are continuous
const MAX_BRIDGE_US = 300_000;
const MODE_CHANGE_US = 1_500_000;
const MAX_WAITING = 100; // packets before the catalog has told how to decode them

export class AudioPath {
  received = 0;
  decoded = 0;
  late = 0;
  outOfOrder = 0;
  errors = 0;
  codec = '';
  wantedUs = 0;
  names = /** @type {Recent<string>} */ (new Recent(4096));
  need = new AudioNeed();
  running = false;
  outputUs = 0;
  /** @type {Frame | null} */ newest = null;
  /** @type {FrameOrder<Frame>} */ #order = new FrameOrder({ independent: true, patienceUs: 60_000 });
  /** @type {AudioDecoder | null} */ #decoder = null;
  /** @type {AudioDecoderConfig | null} */ #config = null;
  /** @type {Frame[]} */ #waiting = [];
  /** @type {Writer | null} */ #writer = null;
  #rate = 48000;
  #playedBeforeUs = 0; // by rings that were replaced
  #underrunsBefore = 0;
  #underrunsSeen = 0;
  #format = '';
  /** @type {number | null} timestamp after the last sample written */ #endPts = null;
  /** @type {number | null} smoothed: local time minus timestamp at the reader */ #delayUs = null;
  /** @type {number[]} last sample written, per channel */ #edge = [];
  #holdUntilUs = 0;
  #lostBefore = 0;
  #lastPts = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {Timeline} timeline
   * @param {(channels: number, sampleRate: number) => void} format told when samples of a new shape come
   */
  constructor(timeline, format) {
    this.timeline = timeline;
    this.onFormat = format;
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

  /** @param {Writer} writer @param {number} sampleRate */
  setWriter(writer, sampleRate) {
    this.#playedBeforeUs = this.playedMs * 1000;
    this.#underrunsBefore = this.underruns;
    this.#writer?.close();
    this.#writer = writer;
    this.#rate = sampleRate;
    this.#underrunsSeen = 0;
    this.#restart();
  }

  /** @param {boolean} running whether the AudioContext takes samples @param {number} outputUs */
  setOutput(running, outputUs) {
    this.outputUs = outputUs;
    if (running === this.running) return;
    this.running = running;
    this.#restart();
  }

  /** The listener chose another delay: silence or a skip is expected. */
  modeChanged() {
    this.#holdUntilUs = nowUs() + MODE_CHANGE_US;
  }

  /** A frame from the wire. @param {Frame} frame */
  push(frame) {
    this.received++;
    this.newest = frame;
    this.#deliver(this.#order.push(frame, frame.arrivalUs));
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
    const { timestamp: pts, numberOfFrames: count, sampleRate, numberOfChannels } = data;
    const now = nowUs();
    this.decoded++;
    if (pts < this.#lastPts) this.outOfOrder++;
    this.#lastPts = pts;
    this.need.add(now - pts, now);
    const format = `${numberOfChannels}@${sampleRate}`;
    if (format !== this.#format) {
      this.#format = format;
      this.onFormat(numberOfChannels, sampleRate);
    }
    if (this.#writer && this.running) this.#write(this.#writer, planesOf(data), pts, count, now);
    data.close();
  }

  /** @param {Writer} writer @param {Float32Array[]} planes @param {number} pts @param {number} count @param {number} now */
  #write(writer, planes, pts, count, now) {
    const durationUs = (count / this.#rate) * 1e6;
    const gap = this.#endPts === null ? 0 : pts - this.#endPts;
    if (gap < -SAME_US && gap > -1e6) return void this.late++; // its place has passed already
    if (Math.abs(gap) > MAX_BRIDGE_US) this.#restart(); // another timeline
    else if (gap > SAME_US) {
      writer.write(bridge(this.#edge, Math.round((gap * this.#rate) / 1e6)));
      this.#endPts = pts;
      rampIn(planes);
    }
    this.#steer(writer, now, pts, durationUs);
    this.#edge = planes.map((plane) => plane.at(-1) ?? 0);
    if (writer.write(planes)) this.#endPts = pts + durationUs;
    else this.late++;
  }

  /** @param {Writer} writer @param {number} now @param {number} pts @param {number} durationUs */
  #steer(writer, now, pts, durationUs) {
    this.wantedUs = this.timeline.soundDelay(this.need.delayUs, this.outputUs);
    const startUs = Math.min(1.5e6, Math.max(durationUs, this.wantedUs - (now - pts) + durationUs));
    writer.set(START, Math.round((startUs * this.#rate) / 1e6));
    if (!writer.get(RUNNING)) return this.#notPlaying(writer, startUs);
    const delay = now - (/** @type {number} */ (this.#endPts ?? pts) - (writer.depth / this.#rate) * 1e6);
    this.#delayUs = this.#delayUs === null ? delay : this.#delayUs + (delay - this.#delayUs) * SMOOTHING;
    this.#countUnderruns(writer, now);
    const { ratePpm, jumpUs } = steer(this.#delayUs, this.wantedUs, now < this.#holdUntilUs);
    writer.set(RATE, ratePpm);
    if (jumpUs) this.#jump(writer, jumpUs);
    this.timeline.heardDelayUs = this.#delayUs + this.outputUs;
  }

  /** Before it plays, and after it ran dry: what is too old by now is not worth playing. @param {Writer} writer @param {number} startUs */
  #notPlaying(writer, startUs) {
    this.#delayUs = this.timeline.heardDelayUs = null;
    this.#countUnderruns(writer, nowUs());
    const keep = Math.round((startUs * this.#rate) / 1e6);
    if (writer.depth > keep) writer.set(SKIP_TO, (writer.get(WRITTEN) - keep) | 0);
  }

  /** @param {Writer} writer @param {number} jumpUs positive: skip */
  #jump(writer, jumpUs) {
    const samples = Math.round((jumpUs * this.#rate) / 1e6);
    if (samples > 0) writer.set(SKIP_TO, (writer.get(READ) + Math.min(samples, writer.depth)) | 0);
    else writer.set(HOLD, (writer.get(HOLD) - samples) | 0);
    this.late += samples > 0 ? 1 : 0;
    this.#delayUs = /** @type {number} */ (this.#delayUs) - jumpUs;
  }

  /** @param {Writer} writer @param {number} now */
  #countUnderruns(writer, now) {
    const count = writer.get(UNDERRUNS);
    if (count > this.#underrunsSeen) this.need.underrun(now);
    this.#underrunsSeen = count;
  }

  /** Play begins anew with what comes next. */
  #restart() {
    this.#endPts = this.#delayUs = this.timeline.heardDelayUs = null;
    const writer = this.#writer;
    if (writer) writer.set(SKIP_TO, writer.get(WRITTEN));
  }

  /** Sound position minus the timestamp of a picture painted now, µs; null while no sound plays. @param {number} ptsUs */
  skewUs(ptsUs) {
    const heard = this.timeline.heardDelayUs;
    return heard === null || !this.#writer?.get(RUNNING) ? null : nowUs() - heard - ptsUs;
  }

  get playedMs() {
    return this.#playedBeforeUs / 1000 + ((this.#writer?.get(PLAYED) ?? 0) / this.#rate) * 1000;
  }

  get underruns() {
    return this.#underrunsBefore + (this.#writer?.get(UNDERRUNS) ?? 0);
  }

  get bufferMs() {
    return ((this.#writer?.depth ?? 0) / this.#rate) * 1000;
  }

  /** @returns {number} what the ring's depth is steered to, ms */
  get targetMs() {
    return this.#delayUs === null ? 0 : Math.max(0, this.bufferMs - (this.#delayUs - this.wantedUs) / 1000);
  }

  get speed() {
    return 1 + (this.#writer?.get(RATE) ?? 0) / 1e6;
  }

  /** Times that packets never came and were skipped. */
  get lost() {
    return this.#lostBefore + this.#order.counters.gaps;
  }

  /** Late and discarded packets. */
  get dropped() {
    return this.late + this.#order.counters.late + this.#order.counters.discarded;
  }

  newSession() {
    clearTimeout(this.#timer);
    this.#lostBefore = this.lost;
    this.late += this.#order.counters.late + this.#order.counters.discarded;
    this.#order = new FrameOrder({ independent: true, patienceUs: 60_000 });
    this.newest = null;
    this.#waiting = [];
    this.#lastPts = -Infinity;
    this.need.reset();
    this.#restart();
  }
}
