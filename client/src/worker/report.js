/** Gathers what PlayerStats and the feedback message say. */

import { Rate, Recent, Window } from '../media/statistics.js';
import { Freezes } from './freezes.js';
import { Gap } from './gap.js';
import { Stages } from './stages.js';
import { nowUs } from './time.js';

/** @typedef {import('../types.js').PlayerStats} PlayerStats */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('../main/debug.js').PaintRecord} PaintRecord */
/** @typedef {import('./video.js').VideoPath} VideoPath */
/** @typedef {import('./audio.js').AudioPath} AudioPath */
/** @typedef {import('../media/clock.js').ClockSync} ClockSync */

const WINDOW_MS = 5000;
const NO_SOUND = {
  audioCodec: '', audioFramesReceived: 0, audioFramesDecoded: 0, audioFramesDropped: 0, audioFramesConcealed: 0, audioConcealedMs: 0,
  audioUnderruns: 0, audioPlayedMs: 0, audioBufferMs: 0, audioTargetMs: 0, audioOutputMs: 0, audioRate: 1,
};
const ms = (/** @type {number} */ us) => Math.round(us / 10) / 100;

export class Report {
  painted = 0;
  firstFrameMs = 0;
  joinMs = { ready: 0, received: 0, decoded: 0 };
  width = 0;
  height = 0;
  rotation = 0;
  bytes = new Rate();
  #paints = new Rate();
  #latency = new Window(WINDOW_MS);
  #recent = new Window(250, 64); // for feedback: what happened since the last one
  stages = new Stages();
  freezes = new Freezes();
  gap = new Gap();
  /** The last frames painted. */ paintLog = /** @type {Recent<PaintRecord>} */ (new Recent(600));
  #skewMs = 0;

  /** @param {FrameInfo} info @param {number} paintUs @param {ClockSync} clock @param {number | null} skewUs */
  paint(info, paintUs, clock, skewUs) {
    const { frame } = info;
    const now = paintUs / 1000;
    this.painted++;
    this.gap.paint(paintUs);
    this.#paints.add(1, now);
    if (skewUs !== null) this.#skewMs = ms(skewUs);
    const latencyUs = clock.ready ? clock.toGateway(paintUs) - frame.captureUs : 0;
    if (clock.ready) {
      this.#latency.add(latencyUs, now);
      this.#recent.add(latencyUs, now);
    }
    this.stages.add(info, paintUs, clock);
    this.paintLog.push({
      group: frame.group, index: frame.index, ptsUs: frame.ptsUs, paintUs: Math.round(clock.toGateway(paintUs)),
      latencyMs: ms(latencyUs), skewMs: skewUs === null ? null : ms(skewUs),
    });
  }

  /** Old latencies say nothing about a new session or mode. */
  reset() {
    this.#latency.clear();
    this.#recent.clear();
    this.stages.clear();
  }

  /**
   * @param {VideoPath} video @param {AudioPath | null} audio @param {ClockSync} clock
   * @returns {Omit<PlayerStats, 'state' | 'transport' | 'transportReason' | 'reconnects' | 'roams' | 'sink' | 'delivery' | keyof import('../types.js').DatagramCounters | 'latencyMode' | 'gateway' | 'rendition' | 'forwarded' | 'reorderFrames' | 'reorderMs'>}
   */
  stats(video, audio, clock) {
    const now = nowUs() / 1000;
    return {
      codec: video.decoder.codec,
      width: this.width, height: this.height, framesReceived: video.received, framesDecoded: video.decoded,
      framesDropped: video.dropped, framesPainted: this.painted,
      freezeCount: this.freezes.count, freezeMs: Math.round(this.freezes.totalUs / 1000),
      roamMs: Math.round(this.gap.us / 1000),
      fps: Math.round(this.#paints.perSecond(now) * 10) / 10, bitrateBps: Math.round(this.bytes.perSecond(now) * 8),
      latencyMs: this.#percentiles(), stages: this.stages.medians, avSkewMs: this.#skewMs,
      firstFrameMs: this.firstFrameMs, joinMs: this.joinMs, navigationToFirstFrameMs: 0,
      decodeQueue: video.decoder.queue, jitterMs: ms(video.jitter.value), rttMs: ms(clock.rttUs),
      clockOffsetMs: ms(clock.offsetUs), framesReordered: video.reordered, framesOutOfOrder: video.outOfOrder,
      framesLost: video.lost, framesLate: video.late, decoderErrors: video.decoder.errors + (audio?.errors ?? 0),
      keyframeRequests: video.keyframeRequests, ...(audio?.stats ?? NO_SOUND),
    };
  }

  #percentiles() {
    return { last: ms(this.#latency.last), p50: ms(this.#latency.percentile(0.5)), p95: ms(this.#latency.percentile(0.95)) };
  }

  /** @param {VideoPath} video @param {ClockSync} clock @returns {Message | null} null: nothing received yet */
  videoFeedback(video, clock) {
    if (!video.newest) return null;
    const { track, group, index, arrivalUs } = video.newest;
    return {
      kind: 'feedback', track, group, index, arrival_us: Math.round(clock.toGateway(arrivalUs)),
      frames_received: video.received, frames_decoded: video.decoded, frames_dropped: video.dropped,
      frames_painted: this.painted, decode_queue: video.decoder.queue,
      latency_us: Math.max(0, Math.round(this.#recent.percentile(0.5))), jitter_us: Math.round(video.jitter.value),
    };
  }
}
