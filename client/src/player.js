/**
 * Player: plays one broadcast of a wtgateway in any page. This file does DOM and messages; media
 * lives in the worker (worker/main.js). It imports only the page's side and the message types.
 *
 *     const player = new Player({ broadcast: 'test', container: document.querySelector('#picture') });
 *     player.addEventListener('state', (event) => console.log(event.detail.message));
 *     player.start();
 */

import { keepAbilities, knownAbilities } from './main/abilities.js';
import { Debug } from './main/debug.js';
import { rememberSocket, socketWon } from './main/memory.js';
import { Sound } from './main/sound.js';
import { askToken, fetchTransport, spawnWorker } from './main/start.js';
import { emptyStats } from './main/stats.js';
import { Surface } from './main/surface.js';

/** @typedef {import('./types.js').PlayerOptions} PlayerOptions */
/** @typedef {import('./types.js').PlayerStats} PlayerStats */
/** @typedef {import('./types.js').StateDetail} StateDetail */
/** @typedef {import('./types.js').LatencyMode} LatencyMode */
/** @typedef {import('./types.js').ToWorker} ToWorker */
/** @typedef {import('./types.js').FromWorker} FromWorker */
/** @typedef {import('./types.js').Catalog} Catalog */

/** @returns {Promise<typeof import('./main/viewport.js')>} not joined to this script: it has time */
const loadViewport = () => import(new URL('./main/viewport.js', import.meta.url).href);

const USUAL_CODEC = 'avc1.42C01F'; // what the gateway's encoder makes of 720p when nothing else is set

/** @type {import('./types.js').Delivery[]} */
export const DELIVERIES = ['auto', 'stream', 'datagram'];
/** @type {import('./types.js').TransportChoice[]} */
export const TRANSPORTS = ['auto', 'webtransport', 'websocket'];
const SOUND_PATIENCE_MS = 300; // a broadcast may have no picture
const RELOAD_MS = 250; // before the worker is loaded again, and each time twice as long
const MAX_RELOAD_MS = 4000;

/**
 * Events, all CustomEvent: `state` (detail {state, message, retryInMs, code}, where `code` tells why the gateway does not
 * let this page watch: 'unauthorized', 'forbidden', 'revoked', 'kicked', 'limit' or ''), `stats` (detail as
 * stats(), about five a second), `error` (detail {message, fatal}), `catalog` (detail Catalog),
 * `sound` (detail {available, running, muted, volume}), `size` (detail {width, height} of what is seen),
 * `rendition` (detail {id}), `abilities` (detail {codecs}), `picture` (detail {on, message}: whether one is
 * to be seen, and why not), `levels` (detail {levels}, see measureLevels()), `access` (detail {granted, expiresInMs,
 * actions}: what the token allows).
 */
export class Player extends EventTarget {
  /** @type {PlayerOptions} */ #options;
  /** @type {Worker | null} */ #worker = null;
  /** @type {Surface} */ #surface;
  /** @type {Sound} */ #sound;
  /** @type {PlayerStats} */ #stats;
  /** @type {StateDetail} */ #state = { state: 'idle', message: '', retryInMs: 0, code: '' };
  /** @type {LatencyMode} */ #latencyMode;
  /** @type {Catalog | null} */ #catalog = null;
  #rendition = -1;
  #wish = -1;
  #picture = true;
  #view = { on: true, message: '' };
  #abilities = knownAbilities();
  /** @type {import('./main/viewport.js').Viewport | null} */ #viewport = null;
  #firstFrameLocalMs = 0;
  #pictureSeen = () => {};
  /** @type {Promise<void>} */ #firstPicture = new Promise((resolve) => { this.#pictureSeen = resolve; });
  #onVisibility = () => this.#visibility();
  #unwatchNetwork = () => {};
  #token = '';
  #baseUrl = '';
  #starts = 0;
  #wanted = false; // whether it is to play
  #levels = false;
  #unloaded = 0; // workers, one after the other
  /** @type {ReturnType<typeof setTimeout> | undefined} before the worker is loaded again */ #reloading;

  /** @param {PlayerOptions} options */
  constructor(options) {
    super();
    const target = options.canvas ?? options.container;
    if (!options.broadcast) throw new TypeError('new Player({broadcast}): the name of a broadcast is needed');
    if (options.delivery && !DELIVERIES.includes(options.delivery)) throw new TypeError(`delivery ${options.delivery} is not ${DELIVERIES.join(', ')}`);
    if (options.transport && !TRANSPORTS.includes(options.transport)) throw new TypeError(`transport ${options.transport} is not ${TRANSPORTS.join(', ')}`);
    if (options.deadlineMs && !(options.deadlineMs > 0 && options.deadlineMs <= 60_000)) throw new TypeError(`a deadline of ${options.deadlineMs} ms is not within a minute`);
    if (!target) throw new TypeError('new Player({canvas}): a <canvas> or an element to put the picture into is needed');
    this.#options = options;
    if (typeof options.token === 'string') this.#token = options.token;
    this.#latencyMode = options.latencyMode ?? 'asap';
    this.#picture = this.#view.on = options.picture ?? true;
    this.#stats = emptyStats(this.#latencyMode);
    this.#surface = new Surface(target, options.sink, (on) => this.#post({ type: 'mirror', on }));
    this.#sound = new Sound((message, transfer) => this.#post(message, transfer), (detail) => this.#emit('sound', detail));
    this.#firstPicture.then(() => this.#watchViewport(target)).catch(() => {}); // it plays without
    this.debug = new Debug((message) => this.#post(message), (count) => this.#sound.samples(count));
  }

  /** Connects and plays until stop(); whatever breaks in between is mended without being asked. */
  start() {
    clearTimeout(this.#reloading);
    this.#wanted = true;
    const { url = '', transportUrl, broadcast, smoothDelayMs = 500, codec = USUAL_CODEC, delivery = 'auto', deadlineMs = 0, transport = 'auto' } = this.#options;
    const baseUrl = this.#baseUrl = new URL(url || '/', document.baseURI).href.replace(/\/$/, '');
    const canRefetch = !transportUrl || Boolean(url);
    this.#spawn();
    const { codecs, stale } = this.#abilities;
    this.#post({
      type: 'start', baseUrl, broadcast, latencyMode: this.#latencyMode, smoothDelayMs, codec, canRefetch,
      codecs, prove: stale, picture: this.#picture, delivery, deadlineMs: Math.round(deadlineMs),
      transport, socketWon: transport === 'auto' && socketWon(baseUrl), token: this.#token,
    });
    if (this.#wish >= 0) this.#post({ type: 'rendition', id: this.#wish });
    this.#sendTransport(baseUrl);
    document.addEventListener('visibilitychange', this.#onVisibility);
  }

  /** Ends the session and keeps the last picture; start() plays again. */
  stop() {
    clearTimeout(this.#reloading);
    this.#wanted = false;
    document.removeEventListener('visibilitychange', this.#onVisibility);
    if (this.#unloaded && !this.#worker) this.#setState('stopped', 'Stopped.');
    this.#post({ type: 'stop' });
  }

  /** Stops and frees everything, for good. */
  close() {
    this.stop();
    this.#sound.close();
    this.#surface.close();
    this.#viewport?.close();
    this.#unwatchNetwork();
    const worker = this.#worker;
    this.#worker = null;
    setTimeout(() => worker?.terminate(), 200); // time to say goodbye on the wire
  }

  /** @returns {PlayerStats} a plain object, at most a quarter of a second old */
  stats() {
    return { ...this.#stats, state: this.#state.state };
  }

  /** The state last told by a `state` event. @returns {StateDetail} */
  get state() {
    return this.#state;
  }

  /** @returns {LatencyMode} */
  get latencyMode() {
    return this.#latencyMode;
  }

  /** @param {LatencyMode} mode */
  setLatencyMode(mode) {
    if (!['asap', 'sync', 'smooth'].includes(mode)) throw new TypeError(`latency mode ${mode} is not asap, sync or smooth`);
    this.#latencyMode = mode;
    this.#post({ type: 'latencyMode', mode });
  }

  /** What the gateway offers; null before it has told. @returns {Catalog | null} */
  get catalog() {
    return this.#catalog;
  }

  /** Id of the video rendition that the gateway sends; -1: none, or it has not told. @returns {number} */
  get rendition() {
    return this.#rendition;
  }

  /** What was wished for last. @returns {number} */
  get wish() {
    return this.#wish;
  }

  /**
   * Wishes for one rendition of the picture, now and in later sessions; a `rendition` event tells when
   * it comes. @param {number} id as in the catalog; -1: the gateway chooses
   */
  setRendition(id) {
    if (!Number.isInteger(id) || id < -1) throw new TypeError(`rendition ${id} is no id of the catalog and not -1`);
    this.#wish = id;
    this.#post({ type: 'rendition', id });
  }

  /** Without a picture only the sound is sent. @param {boolean} on */
  setPicture(on) {
    if (on === this.#picture) return;
    this.#picture = on;
    this.#post({ type: 'picture', on });
  }

  /** Whether a picture is wanted. @returns {boolean} */
  get picture() {
    return this.#picture;
  }

  /** Whether a picture is to be seen, and why not if it was wanted; what a `picture` event told last. */
  get view() {
    return this.#view;
  }

  /** What this browser has proven to decode (docs/protocol.md, "abilities"); empty: not known yet. @returns {string} */
  get abilities() {
    return this.#abilities.codecs;
  }

  /** Whether `levels` events are wanted: of each packet of sound, heard or not. @param {boolean} on */
  measureLevels(on) {
    this.#levels = on;
    this.#post({ type: 'levels', on });
  }

  /** Sound starts muted. Call setMuted(false) in a click: browsers want a gesture. @param {boolean} muted */
  setMuted(muted) {
    this.#sound.setMuted(muted);
  }

  /** @returns {boolean} */
  get muted() {
    return this.#sound.muted;
  }

  /** @param {number} volume 0..1 */
  setVolume(volume) {
    this.#sound.setVolume(volume);
  }

  /** @returns {number} */
  get volume() {
    return this.#sound.volume;
  }

  /** Does not wait for the back-off: tries to connect now. */
  retryNow() {
    if (this.#wanted && !this.#worker) this.start();
    else this.#post({ type: 'retryNow' });
  }

  /**
   * A new MediaStreamTrack of the picture; stop() it when done. It can be given to another
   * element, to WebRTC or to a recorder in this page. No browser of today can post it to a worker.
   * @returns {MediaStreamTrack | null}
   */
  getVideoTrack() {
    return this.#surface.videoTrack();
  }

  /** A new MediaStreamTrack of the sound, before mute and volume. @returns {MediaStreamTrack | null} */
  getAudioTrack() {
    return this.#sound.audioTrack();
  }

  #spawn() {
    if (this.#worker) return;
    const worker = spawnWorker(new URL('./worker/main.js', import.meta.url));
    let loaded = false;
    worker.onmessage = (event) => {
      loaded = true;
      this.#unloaded = 0;
      this.#receive(event.data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (worker !== this.#worker) return; // given up already
      const why = `The player's worker stopped: ${event.message || 'it could not be loaded'}. Reload the page.`;
      if (loaded || !this.#surface.renewable) this.#fail(why);
      else this.#reload(worker, why);
    };
    this.#worker = worker;
    const { message, transfer } = this.#surface.offer();
    this.#post(message, transfer);
    // What one before it was told, or nobody.
    if (this.#levels) this.measureLevels(true);
    if (this.#unloaded) this.#visibility();
    if (this.#view.on !== this.#picture) this.#receive({ type: 'picture', on: this.#picture, message: '' });
  }

  /**
   * A network that changes ends all fetches. Firefox remembers a module that could not be fetched as long as its worker
   * lives, so another worker is the only way in every browser.
   * @param {Worker} worker @param {string} why
   */
  #reload(worker, why) {
    worker.terminate();
    this.#worker = null;
    const pauseMs = RELOAD_MS * 2 ** this.#unloaded++;
    if (!this.#wanted) return this.stop();
    if (pauseMs > MAX_RELOAD_MS) return this.#fail(why);
    this.#reloading = setTimeout(() => this.start(), pauseMs);
    this.#setState('reconnecting', 'The player could not be loaded. Trying again…', pauseMs);
  }

  /** @param {ToWorker} message @param {Transferable[]} [transfer] */
  #post(message, transfer = []) {
    this.#worker?.postMessage(message, transfer);
  }

  /** The first address is fetched here, while the worker is still loading. @param {string} baseUrl */
  async #sendTransport(baseUrl) {
    const start = ++this.#starts;
    const { transportUrl, certificateHashes = [], webSocketUrl, token } = this.#options;
    if (typeof token === 'function' && !this.#token) await this.#renewToken();
    if (start !== this.#starts) return; // of a later start
    try {
      const info = transportUrl ? { url: transportUrl, certificateHashes, webSocketUrl } : await fetchTransport(baseUrl, this.#token);
      this.#post({ type: 'transport', info });
    } catch (error) {
      this.#post({ type: 'transport', info: null, error: String(error) });
    }
  }

  /** Asks the page for a token, and passes it on; the one there was, where the page has no other. */
  async #renewToken() {
    const { token } = this.#options;
    const other = typeof token === 'function' ? await askToken(token) : '';
    if (other) this.#token = other;
    this.#post({ type: 'token', token: this.#token });
  }

  /** Another token, from now on: a session that is open goes on with it. @param {string} token */
  setToken(token) {
    this.#token = token;
    this.#post({ type: 'token', token });
  }

  /** @param {FromWorker} message */
  #receive(message) {
    switch (message.type) {
      case 'state': return this.#setState(message.state, message.message, message.retryInMs, message.code);
      case 'tokenWanted': return void this.#renewToken();
      case 'access': return this.#emit('access', message.access);
      case 'opened': return this.#opened(message.reason);
      case 'stats': return this.#setStats(message.stats);
      case 'error': return this.#emit('error', { message: message.message, fatal: message.fatal });
      case 'catalog':
        this.#catalog = message.catalog;
        this.#viewport?.again();
        return this.#emit('catalog', message.catalog);
      case 'size':
        this.#surface.turn(message.rotation, message);
        this.#viewport?.changed(message);
        return this.#emit('size', { width: message.width, height: message.height });
      case 'rendition':
        this.#rendition = message.id;
        return this.#emit('rendition', { id: message.id });
      case 'abilities': return this.#learn(message.codecs);
      case 'picture':
        this.#view = { on: message.on, message: message.message };
        this.#expectFrames();
        return this.#emit('picture', this.#view);
      case 'levels': return this.#emit('levels', { levels: message.levels });
      case 'firstFrame':
        this.#firstFrameLocalMs = message.localMs;
        return this.#pictureSeen();
      case 'audioFormat': return void this.#openSound(message.channels, message.sampleRate);
      case 'track': return this.#surface.showTrack(message.track);
      case 'frame': return this.#showFrame(message.frame, message.mirror);
      case 'sinkFailed': return this.#nextSink();
      case 'debug': return this.debug.answer(message);
    }
  }

  /** @param {string} codecs */
  #learn(codecs) {
    this.#abilities = { codecs, stale: false };
    keepAbilities(codecs);
    this.#emit('abilities', { codecs });
  }

  /** @param {VideoFrame} frame @param {boolean} mirror */
  #showFrame(frame, mirror) {
    if (mirror) return this.#surface.mirror(frame);
    this.#surface.paint(frame);
    this.#post({ type: 'painted' });
  }

  /** @param {number} channels @param {number} sampleRate */
  async #openSound(channels, sampleRate) {
    // A browser starts a process for a sound device; the first picture goes before it.
    await Promise.race([this.#firstPicture, new Promise((resolve) => setTimeout(resolve, SOUND_PATIENCE_MS))]);
    if (!this.#worker) return; // closed meanwhile
    try {
      await this.#sound.open(channels, sampleRate);
    } catch (error) {
      this.#emit('error', { message: `There will be no sound: ${error}`, fatal: false });
    }
  }

  #nextSink() {
    const { message, transfer } = this.#surface.next();
    this.#post(message, transfer);
  }

  /** @param {PlayerStats} stats */
  #setStats(stats) {
    const navigationToFirstFrameMs = this.#firstFrameLocalMs ? this.#firstFrameLocalMs - performance.timeOrigin : 0;
    this.#stats = { ...stats, navigationToFirstFrameMs };
    this.#emit('stats', this.stats());
  }

  /** @param {import('./types.js').FallbackReason} reason why it is a WebSocket; empty: it is none */
  #opened(reason) {
    if (!reason || reason === 'udp-blocked') rememberSocket(this.#baseUrl, reason === 'udp-blocked');
  }

  /** @param {StateDetail['state']} state @param {string} message @param {number} [retryInMs] @param {StateDetail['code']} [code] */
  #setState(state, message, retryInMs = 0, code = '') {
    this.#state = { state, message, retryInMs, code };
    this.#expectFrames();
    this.#emit('state', this.#state);
  }

  #expectFrames() {
    this.#surface.expectFrames(this.#view.on && ['connecting', 'joining', 'playing', 'roaming'].includes(this.#state.state));
  }

  /** @param {string} message */
  #fail(message) {
    this.#setState('failed', message);
    this.#emit('error', { message, fatal: true });
  }

  /** @param {HTMLElement} target */
  async #watchViewport(target) {
    const { Viewport, watchNetwork } = await loadViewport();
    if (!this.#worker) return; // closed meanwhile
    this.#unwatchNetwork = watchNetwork((event) => this.#post({ type: 'network', event }));
    const { maxBitrateBps = 0 } = this.#options;
    this.#viewport = new Viewport(target, (message) => this.#post(message), maxBitrateBps, this.#surface.seen);
  }

  #visibility() {
    const visible = document.visibilityState === 'visible';
    this.#post({ type: 'visible', visible });
    if (visible) this.#surface.play();
  }

  /** @param {string} type @param {unknown} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
