/**
 * The worker's composition root: media paths, sinks, and what the page asks for. Connecting and
 * reconnecting is in connector.js; what the gateway says is answered here.
 */

import { ClockSync } from '../media/clock.js';
import { codecFromAnnexB } from '../media/h264.js';
import { Connector } from './connector.js';
import { Presenter } from './presenter.js';
import { Report } from './report.js';
import { generatorSink, offscreenSink, pageSink } from './sinks.js';
import { Sound } from './sound.js';
import { nowUs } from './time.js';
import { Timeline } from './timeline.js';
import { VideoPath } from './video.js';
import { Viewing } from './viewing.js';

/** @typedef {import('../types.js').ToWorker} ToWorker */
/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('./sinks.js').Post} Post */
/** @typedef {{transport: WebTransport, connectUs: number, readyUs: number}} EarlyTransport */

/** @returns {Promise<typeof import('./debug.js')>} not joined to this script: nobody asks it in earnest */
const loadDebug = () => import(new URL('./debug.js', import.meta.url).href);

const TICK_MS = 200;
const PING_EVERY_US = 2_000_000;
const FIRST_PINGS = 5; // several at once: the first of them meet a cold path
const MAX_EARLY = 64; // frames that come before the catalog; the oldest give way
const GLASS_MS = 250; // after the first picture, until it is surely seen: what has time waits so long
const LATE_TICK_US = 2_000_000; // the page was frozen; its silence is not the network's

export class Engine {
  clock = new ClockSync();
  report = new Report();
  /** @type {Frame[]} of a kind that only the catalog can tell */ #early = [];
  #h264Track = -1; // that told itself before the catalog did
  /** @type {Record<string, any> | null} */ gateway = null;
  visible = true;
  #usualCodec = '';
  #pings = 0;
  #pingUs = 0;
  clockIsOld = false; // it is of an instance that was left
  #tickUs = nowUs();
  /** @type {ReturnType<typeof pageSink> | null} */ #pageSink = null;

  /** @param {Post} post @param {EarlyTransport | null} early a transport that is being opened already */
  constructor(post, early) {
    this.post = post;
    this.timeline = new Timeline(() => this.clock);
    this.presenter = new Presenter(this.timeline, (info, paintUs, size) => this.#painted(info, paintUs, size), () => this.video.pump());
    this.video = new VideoPath(this.presenter, this.timeline,
      (reason) => this.#askKeyframe(reason), (message) => this.#decoderFailed(message));
    this.sound = new Sound(this.timeline, post);
    this.connector = new Connector(this, early);
    this.video.onDelivered = () => this.connector.delivered('video');
    this.sound.onDelivered = () => this.connector.delivered('audio');
    this.viewing = new Viewing({
      post, send: (message) => this.connector.send(message), giveUp: (why) => this.connector.giveUp(why),
    });
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** @param {ToWorker} message */
  receive(message) {
    switch (message.type) {
      case 'start': return this.#start(message);
      case 'transport': return this.connector.setInfo(message.info, message.error);
      case 'token': return this.connector.access.give(message.token);
      case 'sink': return this.#setSink(message);
      case 'audioOutput': return this.sound.path?.setWriter(message);
      case 'audioState': return this.sound.setOutput(message.running, message.latencyMs * 1000);
      case 'latencyMode': return this.#setMode(message.mode);
      case 'rendition': return this.viewing.wish(message.id);
      case 'picture': return this.#setPicture(message.on);
      case 'levels': return void (this.sound.measures = message.on);
      case 'visible': return this.#setVisible(message.visible);
      case 'network': return this.connector.networkChanged(message.event);
      case 'control': return this.connector.send(message.message);
      case 'mirror': return this.#setMirror(message.on);
      case 'painted': return this.#pageSink?.painted();
      case 'retryNow': return this.connector.retryNow();
      case 'stop': return this.#stop();
      case 'debug': return void this.#debug(message.id, message.command);
    }
  }

  /** @param {import('../types.js').StartMessage} message */
  #start(message) {
    this.timeline.mode = message.latencyMode;
    this.timeline.smoothDelayUs = message.smoothDelayMs * 1000;
    this.#usualCodec = message.codec;
    this.viewing.start(message);
    this.connector.start(message);
  }

  #stop() {
    this.report.freezes.pause();
    this.connector.stop();
  }

  /** @param {Extract<ToWorker, {type: 'sink'}>} message */
  #setSink({ kind, writable, canvas }) {
    const generator = /** @type {any} */ (globalThis).VideoTrackGenerator;
    if (kind === 'trackgenerator' && generator) {
      const made = new generator();
      this.presenter.sink = generatorSink('trackgenerator', made.writable, this.post);
      this.post({ type: 'track', track: made.track }, [made.track]);
    } else if (writable) {
      this.presenter.sink = generatorSink('generator', writable, this.post);
    } else if (canvas) {
      this.presenter.sink = offscreenSink(canvas, () => this.visible);
    } else {
      this.presenter.sink = this.#pageSink = pageSink(this.post);
    }
  }

  /** @param {import('../types.js').LatencyMode} mode */
  #setMode(mode) {
    this.timeline.mode = mode;
    this.sound.path?.playout.modeChanged(nowUs());
    this.report.reset();
    this.presenter.pump();
  }

  /** Copies of the frames for the page's getVideoTrack(), where the sink itself gives no track. @param {boolean} on */
  #setMirror(on) {
    this.presenter.mirror = !on ? null : (picture) => {
      const frame = picture.clone(); // the page closes it
      this.post({ type: 'frame', frame, mirror: true }, [frame]);
    };
  }

  /** @param {boolean} visible */
  #setVisible(visible) {
    this.visible = visible;
    this.report.freezes.pause();
    this.connector.setVisible(visible);
  }

  /** Positions start anew. */
  newPositions() {
    this.viewing.newSession();
    this.#early = [];
    this.#h264Track = -1;
    this.#pings = 0;
    this.#pingUs = 0;
  }

  /** A new session was opened: positions and clocks start anew. */
  sessionOpened() {
    this.newPositions();
    this.clock = new ClockSync();
    this.clockIsOld = false;
    this.report.reset();
    this.timeline.newSession();
    this.video.newSession();
    if (this.viewing.picture) this.video.decoder.warm(this.video.decoder.codec || this.#usualCodec);
    this.sound.newSession();
  }

  /** @param {number} track @returns {string | undefined} */
  kindOf(track) {
    return this.viewing.catalog?.tracks.find(({ id }) => id === track)?.kind;
  }

  /** Of the path: the gateway's measure has its queues in it, that of pings has none. */
  get rttUs() {
    return Math.max(this.gateway?.rtt_us ?? 0, this.clock.rttUs);
  }

  /** Frames may come before the catalog; a keyframe of H.264 tells itself. @param {Frame} frame */
  frame(frame) {
    if (this.viewing.catalog || frame.track === this.#h264Track) return this.#sort(frame);
    this.#early.push(frame);
    if (frame.keyframe && codecFromAnnexB(frame.payload)) {
      this.#h264Track = frame.track;
      this.#sortEarly((early) => early.track === frame.track);
    }
    if (this.#early.length > MAX_EARLY) this.#early.shift();
  }

  /** @param {(frame: Frame) => boolean} known */
  #sortEarly(known) {
    const early = this.#early;
    this.#early = early.filter((frame) => !known(frame));
    for (const frame of early.filter(known)) this.#sort(frame);
  }

  /** @param {Frame} frame */
  #sort(frame) {
    const { catalog, picture, expectsPicture } = this.viewing;
    const kind = catalog ? this.kindOf(frame.track) : 'video';
    if (kind === 'video' && picture) this.video.push(frame);
    if (kind !== 'audio') return;
    this.sound.push(frame);
    if (!expectsPicture) this.connector.playing();
  }

  /** @param {import('./session.js').Position} frame */
  lost(frame) {
    if (this.video.newest?.track === frame.track) this.video.lose(frame);
    else if (this.sound.path?.newest?.track === frame.track) this.sound.path.lose(frame);
  }

  /** @param {Message} message @param {number} arrivalUs */
  message(message, arrivalUs) {
    switch (message.kind) {
      case 'welcome':
        this.ping();
        return this.connector.message(message, arrivalUs);
      case 'catalog': return this.#setCatalog(/** @type {any} */ (message));
      case 'subscribed':
        if (message.rendition < 0) this.#interrupt();
        return this.viewing.subscribed(message);
      case 'pong': return this.#pong(message, arrivalUs);
      case 'statistics':
        this.report.stages.queueUs = message.queue_us;
        return void (this.gateway = message);
      case 'error': return this.post({ type: 'error', message: message.message, fatal: false });
      default:
        this.connector.message(message, arrivalUs);
        if (this.connector.state === 'waiting') this.report.freezes.pause();
    }
  }

  /** @param {import('../types.js').Catalog} catalog */
  #setCatalog({ revision, tracks }) {
    const catalog = { revision, tracks };
    this.sound.configure(tracks.find((track) => track.kind === 'audio')?.renditions ?? []);
    const video = tracks.find((track) => track.kind === 'video')?.renditions ?? [];
    this.video.decoder.renditions = new Map(video.map((one) => [one.id, one]));
    this.viewing.setCatalog(catalog);
    this.#sortEarly(() => true);
    this.post({ type: 'catalog', catalog });
  }

  /** @param {boolean} on */
  #setPicture(on) {
    this.#interrupt();
    this.viewing.setPicture(on);
  }

  /** What comes next of the picture has nothing to do with what came before. */
  #interrupt() {
    this.report.freezes.pause();
    this.video.newSession();
  }

  ping() {
    this.#pings++;
    this.#pingUs = nowUs();
    this.connector.send({ kind: 'ping', id: this.#pings, client_us: nowUs() });
  }

  /** @param {Message} pong @param {number} arrivalUs */
  #pong(pong, arrivalUs) {
    if (this.clockIsOld) this.clock = new ClockSync();
    this.clockIsOld = false;
    this.clock.add(pong.client_us, pong.received_us, pong.sent_us, arrivalUs);
    if (this.#pings < FIRST_PINGS) this.ping();
  }

  /** @param {FrameInfo} info @param {number} paintUs @param {{width: number, height: number}} size */
  #painted(info, paintUs, size) {
    this.report.paint(info, paintUs, this.clock, this.sound.path?.playout.skewUs(info.frame.ptsUs, paintUs) ?? null);
    const { dropped, lost, late } = this.video;
    this.report.freezes.paint(paintUs, info.frame.ptsUs, dropped + lost + late + this.connector.reconnects);
    this.#setShape(size, this.viewing.rendition(info.frame.rendition)?.rotation ?? 0);
    if (!this.report.firstFrameMs) {
      const { connectUs, readyUs } = this.connector;
      const since = (/** @type {number} */ us) => Math.max(0.01, Math.round((us - connectUs) / 10) / 100);
      this.report.firstFrameMs = since(paintUs);
      this.report.joinMs = { ready: since(readyUs), received: since(info.frame.arrivalUs), decoded: since(info.decodedUs) };
      this.post({ type: 'firstFrame', localMs: paintUs / 1000 });
      setTimeout(() => this.viewing.pictureShown(), GLASS_MS);
    }
    this.connector.playing();
  }

  /** @param {{width: number, height: number}} size as it is coded @param {number} rotation */
  #setShape(size, rotation) {
    const lying = rotation % 180 !== 0;
    const seen = { width: lying ? size.height : size.width, height: lying ? size.width : size.height, rotation };
    const { width, height, rotation: before } = this.report;
    if (seen.width === width && seen.height === height && rotation === before) return;
    Object.assign(this.report, seen);
    this.post({ type: 'size', ...seen });
  }

  /** @param {string} reason */
  #askKeyframe(reason) {
    const track = this.viewing.catalog?.tracks.find(({ kind }) => kind === 'video')?.id ?? this.video.newest?.track;
    if (track !== undefined) this.connector.send({ kind: 'keyframe', track, reason });
  }

  /** @param {string} message */
  #decoderFailed(message) {
    this.post({ type: 'error', message: `The video decoder failed and is being restarted: ${message}`, fatal: false });
    if (!this.report.painted) this.viewing.failed();
  }

  #tick() {
    const now = nowUs();
    const frozen = now - this.#tickUs > LATE_TICK_US;
    this.#tickUs = now;
    this.connector.watch(now, frozen);
    this.video.decoder.checkStuck(now);
    if (this.connector.open) {
      if (now - this.#pingUs > PING_EVERY_US) this.ping();
      const said = [this.report.videoFeedback(this.video, this.clock), this.sound.path?.feedback(this.clock), this.report.stages.takeTrace(now)];
      for (const feedback of said) {
        if (feedback) this.connector.send(feedback);
      }
    }
    this.post({ type: 'stats', stats: this.#stats() });
  }

  /** @returns {import('../types.js').PlayerStats} */
  #stats() {
    return {
      ...this.report.stats(this.video, this.sound.path, this.clock), ...this.viewing.stats(this.video.newest?.durationUs ?? 0),
      ...this.connector.datagrams,
      state: this.connector.state, transport: this.connector.transport, transportReason: this.connector.transportReason, reconnects: this.connector.reconnects, roams: this.connector.roams,
      sink: this.presenter.sink?.kind ?? '', latencyMode: this.timeline.mode, gateway: this.gateway,
    };
  }

  /** @param {number} id @param {Extract<ToWorker, {type: 'debug'}>['command']} command */
  async #debug(id, command) {
    try {
      this.post({ type: 'debug', id, value: await (await loadDebug()).answer(this, command) });
    } catch (error) {
      this.post({ type: 'debug', id, error: error instanceof Error ? error.message : String(error) });
    }
  }
}
