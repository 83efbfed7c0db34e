/**
 * Feeds the ring so that each sample is heard when it should be: starts at the wanted depth, conceals
 * what is missing, refuses what comes too late, and steers the worklet's speed so that nothing piles
 * up. Pure but for the ring: `now` is an argument, local µs.
 */

import { CONCEALED, HOLD, PLAYED, RATE, READ, RUNNING, SKIP_TO, START, UNDERRUNS, WRITTEN } from '../audio/ring.js';
import { AudioNeed, Steering } from '../media/jitter.js';
import { Concealer } from './conceal.js';
import { joinOn } from './samples.js';

/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {import('./ring_writer.js').SharedWriter | import('./ring_writer.js').PortWriter} Writer */

const SMOOTHING = 0.1; // of the measured delay, about 200 ms of packets
const SAME_US = 4_000; // timestamps that differ less are continuous
const MAX_BRIDGE_US = 300_000;
const MODE_CHANGE_US = 1_500_000;
const MAX_START_US = 1_500_000;
const HAND_OVER_US = 15_000; // a decoder's time, and a block that a sound card takes at once

export class Playout {
  late = 0;
  wantedUs = 0;
  need = new AudioNeed();
  outputUs = 0;
  /** @type {Writer | null} */ #writer = null;
  #rate = 48000;
  #playedBeforeMs = 0; // by rings that were replaced
  #underrunsBefore = 0;
  #concealedBeforeMs = 0;
  #filledMs = 0; // by what was made up here
  #filled = { fromUs: 0, toUs: 0 }; // last
  #packetMs = 20;
  #steering = new Steering();
  #ratePpm = 0;
  #adjustedUs = 0;
  #concealer = new Concealer(0);
  #underrunsSeen = 0;
  /** @type {number | null} timestamp after the last sample written */ #endPts = null;
  /** @type {number | null} smoothed: local time minus timestamp at the reader */ #delayUs = null;
  /** @type {number[]} last sample written, per channel */ #edge = [];
  #holdUntilUs = 0;

  /** @param {Timeline} timeline */
  constructor(timeline) {
    this.timeline = timeline;
  }

  /** That the ring takes; 0 without one. */
  get channels() {
    return this.#writer?.ring.planes.length ?? 0;
  }

  /** @param {Writer} writer @param {number} sampleRate */
  setWriter(writer, sampleRate) {
    this.#playedBeforeMs = this.playedMs;
    this.#underrunsBefore = this.underruns;
    this.#concealedBeforeMs = this.concealedMs - this.#filledMs;
    this.#concealer = new Concealer(writer.ring.planes.length);
    this.#writer?.close();
    this.#writer = writer;
    this.#rate = sampleRate;
    this.#underrunsSeen = 0;
    this.restart();
  }

  /** The listener chose another delay: silence or a skip is expected. @param {number} now */
  modeChanged(now) {
    this.#holdUntilUs = now + MODE_CHANGE_US;
  }

  /** Samples in order. @param {Float32Array[]} planes one per channel @param {number} pts µs @param {number} now @returns {void} */
  write(planes, pts, now) {
    const writer = this.#writer;
    if (!writer) return;
    const durationUs = ((planes[0]?.length ?? 0) / this.#rate) * 1e6;
    const gap = this.#endPts === null ? 0 : pts - this.#endPts;
    if (gap < -SAME_US && gap > -1e6) {
      const passed = Math.round((-gap * this.#rate) / 1e6);
      if (passed >= (planes[0]?.length ?? 0)) return void this.late++;
      const rest = planes.map((plane) => plane.slice(passed)); // the beginning was heard of another rendition
      joinOn(this.#edge, rest);
      return this.write(rest, /** @type {number} */ (this.#endPts), now);
    }
    if (Math.abs(gap) > MAX_BRIDGE_US) this.restart(); // another timeline
    else if (gap > SAME_US) this.#fill(writer, planes, gap, pts);
    this.#packetMs = durationUs / 1000;
    this.#adjust(writer, now, pts, durationUs);
    this.#edge = planes.map((plane) => plane.at(-1) ?? 0);
    this.#concealer.remember(planes);
    if (writer.write(planes)) this.#endPts = pts + durationUs;
    else this.late++;
  }

  /** @param {Writer} writer @param {Float32Array[]} next @param {number} gapUs @param {number} pts */
  #fill(writer, next, gapUs, pts) {
    const made = this.#concealer.fill(Math.round((gapUs * this.#rate) / 1e6), next);
    this.#concealer.remember(made);
    if (writer.get(RUNNING)) this.#filledMs += gapUs / 1000; // else the worklet has done it already, and counted
    this.#filled = { fromUs: pts - gapUs, toUs: pts - SAME_US };
    this.#endPts = pts;
    writer.write(made);
  }

  /** A packet has come. Waiting for longer would have been better where its place was filled. @param {number} pts @param {number} now */
  arrived(pts, now) {
    const { fromUs, toUs } = this.#filled;
    if (pts < fromUs - SAME_US || pts > toUs) return;
    this.#filled = { fromUs: 0, toUs: 0 };
    this.need.underrun(now);
  }

  /** How long a packet that is missing can be waited for before something else has to be heard, µs; null: nothing is heard. */
  get patienceUs() {
    return this.#writer?.get(RUNNING) ? this.bufferMs * 1000 - HAND_OVER_US : null;
  }

  /** @param {Writer} writer @param {number} now @param {number} pts @param {number} durationUs */
  #adjust(writer, now, pts, durationUs) {
    this.wantedUs = this.timeline.soundDelay(this.need.delayUs, this.outputUs);
    const startUs = Math.min(MAX_START_US, Math.max(durationUs, this.wantedUs - (now - pts) + durationUs));
    writer.set(START, Math.round((startUs * this.#rate) / 1e6));
    this.#countUnderruns(writer, now);
    if (!writer.get(RUNNING)) return this.#notPlaying(writer, startUs - durationUs);
    const delay = now - (/** @type {number} */ (this.#endPts ?? pts) - (writer.depth / this.#rate) * 1e6);
    this.#follow(delay, now);
    const { ratePpm, jumpUs } = this.#steering.judge(/** @type {number} */ (this.#delayUs), this.wantedUs, now < this.#holdUntilUs);
    this.#ratePpm = ratePpm;
    writer.set(RATE, ratePpm);
    if (jumpUs) this.#jump(writer, jumpUs);
    this.timeline.heardDelayUs = /** @type {number} */ (this.#delayUs) + this.outputUs;
  }

  /** Smooths what was measured, after what the speed has changed meanwhile. @param {number} delay @param {number} now */
  #follow(delay, now) {
    const expected = (this.#delayUs ?? delay) - (this.#ratePpm / 1e6) * (this.#delayUs === null ? 0 : now - this.#adjustedUs);
    this.#adjustedUs = now;
    this.#delayUs = expected + (delay - expected) * SMOOTHING;
  }

  /** Before it plays and after it ran dry: what is too old by now is not worth playing. @param {Writer} writer @param {number} keepUs */
  #notPlaying(writer, keepUs) {
    this.#delayUs = this.timeline.heardDelayUs = null;
    this.#ratePpm = 0;
    writer.set(RATE, 0);
    const keep = Math.round((keepUs * this.#rate) / 1e6);
    if (writer.depth > keep) writer.set(SKIP_TO, (writer.get(WRITTEN) - keep) | 0);
  }

  /** @param {Writer} writer @param {number} jumpUs positive: skip */
  #jump(writer, jumpUs) {
    // Packets that come late themselves leave less to skip than the whole delay.
    const samples = Math.min(Math.round((jumpUs * this.#rate) / 1e6), writer.depth);
    if (samples > 0) writer.set(SKIP_TO, (writer.get(READ) + samples) | 0);
    else writer.set(HOLD, (writer.get(HOLD) - samples) | 0);
    this.late += samples > 0 ? 1 : 0;
    this.#delayUs = /** @type {number} */ (this.#delayUs) - (samples / this.#rate) * 1e6;
  }

  /** @param {Writer} writer @param {number} now */
  #countUnderruns(writer, now) {
    const count = writer.get(UNDERRUNS);
    if (count > this.#underrunsSeen) this.need.underrun(now);
    this.#underrunsSeen = count;
  }

  /** Play begins anew with what comes next. */
  restart() {
    this.#endPts = this.#delayUs = this.timeline.heardDelayUs = null;
    const writer = this.#writer;
    if (writer) writer.set(SKIP_TO, writer.get(WRITTEN));
  }

  /** Position heard at `now` minus a timestamp, µs; null while no sound plays. @param {number} ptsUs @param {number} now */
  skewUs(ptsUs, now) {
    const heard = this.timeline.heardDelayUs;
    return heard === null || !this.#writer?.get(RUNNING) ? null : now - heard - ptsUs;
  }

  get playedMs() {
    return this.#playedBeforeMs + ((this.#writer?.get(PLAYED) ?? 0) / this.#rate) * 1000;
  }

  get underruns() {
    return this.#underrunsBefore + (this.#writer?.get(UNDERRUNS) ?? 0);
  }

  /** What was made up where samples were missing. */
  get concealedMs() {
    return this.#concealedBeforeMs + this.#filledMs + ((this.#writer?.get(CONCEALED) ?? 0) / this.#rate) * 1000;
  }

  /** The same, as packets. */
  get concealedPackets() {
    return Math.round(this.concealedMs / this.#packetMs);
  }

  get bufferMs() {
    return ((this.#writer?.depth ?? 0) / this.#rate) * 1000;
  }

  /** What the ring's depth is steered to. */
  get targetMs() {
    return this.#delayUs === null ? 0 : Math.max(0, this.bufferMs - (this.#delayUs - this.wantedUs) / 1000);
  }

  get speed() {
    return 1 + (this.#writer?.get(RATE) ?? 0) / 1e6;
  }

  newSession() {
    this.need.reset();
    this.restart();
  }
}
