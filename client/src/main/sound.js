/**
 * The page's side of sound: AudioContext, worklet node, volume, and the ring between worker and
 * worklet. Page side only.
 *
 * Sound starts muted: a browser lets a page be heard only after a gesture. While the context is
 * suspended nothing is consumed and the worker throws late samples away, so that sound begins at
 * "now" when setMuted(false) is called in a click.
 */

import { ringBytes, RING_SECONDS } from '../audio/ring.js';

/** @typedef {import('../types.js').ToWorker} ToWorker */
/** What PulseAudio and PipeWire add where it cannot be asked. */
const TYPICAL_OUTPUT_LATENCY_S = 0.025;

/**
 * Seconds from the graph's end to the loudspeaker. Firefox is not asked: reading it takes the sound
 * server's lock on the page's main thread, and Firefox 153 on Linux can wait there for ever.
 * @param {AudioContext} context
 */
function outputLatency(context) {
  if (navigator.userAgent.includes('Firefox/')) return TYPICAL_OUTPUT_LATENCY_S;
  return context.outputLatency || 0;
}

/** @typedef {{available: boolean, running: boolean, muted: boolean, volume: number}} SoundDetail */

const RAMP_S = 0.02; // long enough not to click, short enough to feel immediate

export class Sound {
  muted = true;
  volume = 1;
  /** @type {AudioContext | null} */ #context = null;
  /** @type {GainNode | null} */ #gain = null;
  /** @type {AudioWorkletNode | null} */ #node = null;
  /** @type {MediaStreamAudioDestinationNode | null} */ #tap = null;
  /** @type {(message: ToWorker, transfer?: Transferable[]) => void} */ #post;
  /** @type {(detail: SoundDetail) => void} */ #changed;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  #format = '';

  /**
   * @param {(message: ToWorker, transfer?: Transferable[]) => void} post
   * @param {(detail: SoundDetail) => void} changed
   */
  constructor(post, changed) {
    this.#post = post;
    this.#changed = changed;
  }

  /** @returns {SoundDetail} */
  get detail() {
    const running = this.#context?.state === 'running';
    return { available: this.#node !== null, running, muted: this.muted, volume: this.volume };
  }

  /**
   * Makes the node for a stream of that shape and hands its ring to the worker.
   * @param {number} channels @param {number} sampleRate
   */
  async open(channels, sampleRate) {
    const format = `${channels}@${sampleRate}`;
    if (format === this.#format) return;
    this.#format = format;
    const context = this.#start(sampleRate);
    await context.audioWorklet.addModule(new URL('../audio/worklet.js', import.meta.url));
    if (format !== this.#format) return; // another format came meanwhile
    this.#node?.disconnect();
    this.#node = this.#makeNode(context, channels, sampleRate);
    this.#node.connect(/** @type {GainNode} */ (this.#gain));
    if (this.#tap) this.#node.connect(this.#tap);
    this.#report();
    this.#changed(this.detail);
  }

  /** @param {number} sampleRate */
  #start(sampleRate) {
    if (this.#context) return this.#context;
    const context = new AudioContext({ latencyHint: 'interactive', sampleRate });
    const most = context.destination.maxChannelCount; // 0 in a Firefox without a sound device
    if (most > 2) context.destination.channelCount = Math.min(most, 8);
    this.#context = context;
    this.#gain = new GainNode(context, { gain: this.muted ? 0 : this.volume });
    this.#gain.connect(context.destination);
    context.addEventListener('statechange', () => {
      this.#report();
      this.#changed(this.detail);
    });
    this.#timer = setInterval(() => this.#report(), 500);
    return context;
  }

  /** @param {AudioContext} context @param {number} channels @param {number} sampleRate */
  #makeNode(context, channels, sampleRate) {
    const capacity = Math.ceil(RING_SECONDS * sampleRate);
    const shared = globalThis.crossOriginIsolated === true;
    const ring = shared ? new SharedArrayBuffer(ringBytes(channels, capacity)) : null;
    const link = shared ? null : new MessageChannel();
    const node = new AudioWorkletNode(context, 'wtgateway-ring', {
      numberOfInputs: 0,
      outputChannelCount: [channels],
      processorOptions: { ring, channels, capacity },
    });
    if (link) node.port.postMessage({ link: link.port1 }, [link.port1]);
    const port = link?.port2 ?? null;
    this.#post({ type: 'audioOutput', ring, port, channels, capacity, sampleRate }, port ? [port] : []);
    return node;
  }

  #report() {
    const context = this.#context;
    if (!context) return;
    const seconds = outputLatency(context) + (context.baseLatency || 0);
    this.#post({ type: 'audioState', running: context.state === 'running', latencyMs: seconds * 1000 });
  }

  /** Call it in a click or key handler when turning sound on. @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
    if (!muted) this.#context?.resume().catch(() => {});
    this.#applyVolume();
  }

  /** @param {number} volume 0..1 */
  setVolume(volume) {
    this.volume = Math.min(1, Math.max(0, volume));
    this.#applyVolume();
  }

  #applyVolume() {
    if (this.#context && this.#gain) {
      this.#gain.gain.setTargetAtTime(this.muted ? 0 : this.volume, this.#context.currentTime, RAMP_S / 3);
    }
    this.#changed(this.detail);
  }

  /** The sound before mute and volume, for recording or for another page. @returns {MediaStreamTrack | null} */
  audioTrack() {
    const context = this.#start(48000);
    if (!this.#tap) {
      this.#tap = context.createMediaStreamDestination();
      this.#node?.connect(this.#tap);
    }
    return this.#tap.stream.getAudioTracks()[0]?.clone() ?? null;
  }

  /**
   * The next samples that the worklet puts out, first channel; costs nothing when not asked.
   * @param {number} count @returns {Promise<Float32Array>}
   */
  samples(count) {
    const node = this.#node;
    if (!node) return Promise.reject(new Error('there is no sound yet'));
    return new Promise((resolve) => {
      node.port.onmessage = (event) => resolve(event.data.samples);
      node.port.postMessage({ tap: count });
    });
  }

  close() {
    clearInterval(this.#timer);
    this.#context?.close().catch(() => {});
    this.#context = this.#node = this.#gain = this.#tap = null;
    this.#format = '';
  }
}
