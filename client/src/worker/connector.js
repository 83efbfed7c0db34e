/**
 * Keeps a session open for as long as the page wants one: connects, listens for its end, waits
 * (exponential back-off with jitter), fetches the address and hashes anew, connects again. A second session beside
 * one that is silent, or about to go, is opened by worker/roaming.js, and takes its place here.
 */

import { Attempts } from '../media/attempts.js';
import { Backoff } from '../media/backoff.js';
import { Access } from './access.js';
import { Addresses, refusal } from './addresses.js';
import { fallbackReason, Impossible, loadRacing, open } from './opening.js';
import { fetched, words } from './session.js';
import { nowUs } from './time.js';
import { begin, DEAF, playing } from './wiring.js';
import { afterEnd, broadcastWords, verdict } from './words.js';

/** @typedef {import('../types.js').PlayerState} PlayerState */
/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./words.js').Verdict} Verdict */
/** @typedef {import('./engine.js').Engine} Engine */
/** @typedef {import('./roaming.js').Roamer} Roamer */
/**
 * What a session was told of where it is, and what it takes to go on elsewhere.
 * @typedef {{instance: string, token: string, tokenUntilUs: number}} Place
 */

/** @type {() => Promise<typeof import('./roaming.js')>} not joined to this script: it has time until the first picture */
const loadRoaming = fetched('./roaming.js');

const SILENCE_US = 4_000_000; // the gateway speaks every second: so much silence is a lost connection
const STEADY_US = 3_000_000; // a session that lasted so long starts the back-off over
const STALE_STATE_US = 1_500_000;
const WAITING_MS = 3000; // a broadcast that is not there yet is looked for that often
const READY_MS = 8000;
const BLIND_READY_MS = 2500; // meanwhile nobody looks whether the pages are back

const MOVED = 'another session of this viewer took its place';

export class Connector {
  /** @type {PlayerState} */ state = 'idle';
  reconnects = 0;
  roams = 0;
  /** @type {import('../types.js').DatagramCounters} of all sessions */
  datagrams = { datagramsReceived: 0, fragmentsReceived: 0, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 0 };
  /** When the CONNECT was sent and when accepted, local µs. */
  connectUs = 0;
  readyUs = 0;
  addresses = new Addresses();
  /** Handshakes of WebTransport that failed, of all sessions. */ attempts = new Attempts();
  /** Of the session that plays, or played last. @type {import('../types.js').TransportKind} */ transport = 'webtransport';
  /** @type {import('../types.js').FallbackReason} */ transportReason = '';
  /** While two transports are raced. @type {import('./racing.js').Racing | null} */ racing = null;
  loadRacing = loadRacing;
  /** Of the session that is played. @type {Place} */ place = { instance: '', token: '', tokenUntilUs: 0 };
  /** @type {Session | null} that is played */ session = null;
  /** @type {StartMessage | null} */ wish = null;
  #run = 0;
  #open = false;
  #dropped = false;
  #openedUs = 0;
  #backoff = new Backoff();
  #wake = () => {};
  /** @type {Message | null} */ #goodbye = null;
  #drain = false; // the gateway of the session that plays is about to go
  #away = false;
  #awayUs = 0;
  /** @type {Roamer | null} */ #roamer = null;
  #loading = false;

  /** @param {Engine} engine @param {import('./engine.js').EarlyTransport | null} early @param {typeof loadRoaming} [load] for tests */
  constructor(engine, early, load = loadRoaming) {
    this.engine = engine;
    this.early = early;
    this.load = load;
    this.access = new Access((message) => engine.post(message), (message) => this.send(message));
  }

  /** True while a session is open. */
  get open() {
    return this.#open;
  }

  /** The address that the page fetched. @param {import('../types.js').TransportInfo | null} info @param {string} [_error] */
  setInfo(info, _error) {
    this.addresses.give(info);
  }

  /** @param {StartMessage} wish */
  start(wish) {
    this.wish = wish;
    this.access.start(wish);
    this.#backoff.reset();
    this.#loop(wish, ++this.#run);
  }

  stop() {
    this.#leave('the viewer stopped');
    this.say('stopped', 'Stopped.');
  }

  /** What was received is of no use here, and trying again would not change it. @param {string} why */
  giveUp(why) {
    this.#leave('the viewer cannot decode it');
    this.#fail(verdict({ why }));
  }

  /** @param {string} why */
  #leave(why) {
    this.#run++;
    this.access.stop();
    this.racing?.cancel();
    this.#roamer?.stop();
    this.session?.close(0, why);
    this.#wake();
  }

  retryNow() {
    this.#wake();
  }

  /** The browser told of a change of its network, or that the page has come back to life. @param {string} event */
  networkChanged(event) {
    if (this.#open) this.#roamer?.networkChanged();
    else if (event !== 'offline') this.retryNow();
  }

  /** A frame can be decoded: all that was before it has come. @param {import('../media/roaming.js').Kind} kind */
  delivered(kind) {
    this.#roamer?.delivered(kind);
  }

  /** @param {boolean} visible whether the page is */
  setVisible(visible) {
    this.#roamer?.set({ visible });
    if (!visible) return;
    this.networkChanged('visible');
  }

  /** For tests: the session ends as if the network had gone, and nothing takes its place at once. */
  drop() {
    this.#dropped = true;
    this.session?.close(0, 'dropped by a test');
  }

  /** @param {Message} message */
  send(message) {
    this.session?.send(message);
  }

  /** @param {PlayerState} state @param {string} message @param {number} [retryInMs] @param {import('../types.js').FailureCode} [code] */
  say(state, message, retryInMs = 0, code = '') {
    this.state = state;
    this.engine.post({ type: 'state', state, message, retryInMs, code });
  }

  /** @param {StartMessage} wish @param {number} run */
  async #loop(wish, run) {
    this.say('connecting', 'Connecting to the gateway…');
    while (run === this.#run) {
      const next = await this.#attempt(wish, run).catch((error) => refusal(error) ?? verdict({ why: words(error) }));
      this.session = null;
      this.#open = false;
      if (run !== this.#run) return;
      this.#roamer?.stop();
      if (next.code === 'unauthorized' && await this.access.renewed()) continue;
      if (run !== this.#run) return;
      if (next.final) return this.#fail(next);
      const pause = Math.min(this.#backoff.next(next.leastMs), next.state === 'waiting' ? WAITING_MS : Infinity);
      const when = pause < 1000 ? '' : ` in ${Math.round(pause / 1000)} s`;
      this.say(next.state, `${next.why}. Trying again${when}…`, pause, next.code);
      await this.#sleep(pause);
      // A viewer who waits for a broadcast need not see every look at whether it is there.
      if (run === this.#run && next.state !== 'waiting') this.say('reconnecting', 'Connecting to the gateway…');
    }
  }

  /** @param {Verdict} end */
  #fail({ why, code }) {
    this.access.stop();
    this.say('failed', `${why}.`, 0, code);
    this.engine.post({ type: 'error', message: why, fatal: true });
  }

  /** @param {number} pauseMs */
  #sleep(pauseMs) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  /** One session from CONNECT to its end, and those that took its place. @param {StartMessage} wish @param {number} run @returns {Promise<Verdict>} */
  async #attempt(wish, run) {
    const { early } = this;
    this.early = null;
    const info = await this.#find(wish, early);
    if (!info || run !== this.#run) return verdict({ why: 'The gateway does not answer' });
    this.engine.video.patienceUs = this.engine.viewing.deadlineUs;
    this.engine.sessionOpened();
    const patienceMs = this.addresses.failures ? BLIND_READY_MS : READY_MS;
    /** @type {Session} */ let session;
    try {
      session = await open(this, wish, info, { early, patienceMs, wanted: () => run === this.#run });
    } catch (error) {
      if (run !== this.#run) return verdict({ why: words(error) });
      if (this.session) this.leave(this.session, '');
      if (error instanceof Impossible) return verdict({ why: error.message, state: 'failed', final: true });
      return refusal(error) ?? await this.addresses.explain(wish, words(error));
    } finally {
      this.racing = null;
    }
    this.#opened(session);
    this.readyUs ||= nowUs();
    if (run === this.#run) {
      this.#open = true;
      if (this.state !== 'playing') this.say('joining', 'Waiting for the first picture…');
    }
    return this.#attend(session, run);
  }

  /** Until the session that is played has ended, and none takes its place. @param {Session} session @param {number} run @returns {Promise<Verdict>} */
  async #attend(session, run) {
    this.#openedUs = nowUs();
    for (;;) {
      const end = await session.ended;
      const over = run === this.#run && session === this.session && !await this.#replaced(end);
      if (over && nowUs() - this.#openedUs > STEADY_US) this.#backoff.reset();
      if (over || run !== this.#run) return afterEnd(end, this.#goodbye);
      session = /** @type {Session} */ (this.session); // that has taken its place
    }
  }

  /** Whether another session plays now in place of one that has ended. @param {import('./session.js').End} end */
  async #replaced({ clean, code }) {
    const broken = !clean && code === 0; // what was closed for a reason would be closed again
    if (broken && !this.#dropped && await this.#roamer?.brokeOff()) return true;
    this.#dropped = false;
    this.reconnects++;
    return false;
  }

  /** Tells what the session that plays goes over. @param {Session} session */
  #opened({ kind }) {
    const reason = kind === 'websocket' ? fallbackReason(this.wish) : '';
    this.transport = kind;
    this.transportReason = reason;
    if (this.wish) this.wish.socketWon = reason === 'udp-blocked';
    this.engine.post({ type: 'opened', kind, reason });
    this.#roamer?.opened();
  }

  /** What a request for a session says of this viewer. */
  get wishes() {
    return { ...this.engine.viewing.wishes, token: this.wish?.token ?? '' };
  }

  /** @param {import('../types.js').Transport} transport @param {import('./session.js').SessionHandlers} [handlers] that hear of it until it plays */
  begin(transport, handlers = { ...DEAF }) {
    return begin(this.engine, transport, handlers);
  }

  /** Nothing that comes of it is wanted any more. @param {Session} session @param {string} why */
  leave(session, why) {
    Object.assign(session.handlers, DEAF);
    session.close(0, why);
  }

  /** What comes of a session goes to the engine from now on. @param {Session} session @returns {Session} */
  play(session) {
    this.session = session;
    this.place = { instance: '', token: '', tokenUntilUs: 0 };
    this.#goodbye = null;
    this.#away = this.#drain = false;
    Object.assign(session.handlers, playing(this.engine, () => this.#roamer?.heard()));
    return session;
  }

  /** Another session goes on in place of the one that was played, which is closed. @param {Session} session */
  takeOver(session) {
    const old = this.session;
    this.play(session);
    this.#openedUs = nowUs();
    this.#opened(session);
    if (!old) return;
    old.send({ kind: 'goodbye', code: 0, reason: MOVED, retry_after_ms: 0 });
    this.leave(old, MOVED);
  }

  /**
   * @param {StartMessage} wish @param {import('./engine.js').EarlyTransport | null} early that is being opened already
   * @throws {import('./transport.js').HttpError} this viewer is not let in
   */
  async #find(wish, early) {
    if (early) await this.addresses.early();
    const info = early ? this.addresses.known : await this.addresses.find(wish);
    this.connectUs = early?.connectUs ?? nowUs();
    this.readyUs = early?.readyUs ?? 0;
    return info;
  }

  /** @param {Message} message @param {number} arrivalUs */
  message(message, arrivalUs) {
    switch (message.kind) {
      case 'welcome': return void (this.place.instance = message.instance);
      case 'resume': return void Object.assign(this.place, { token: message.token, tokenUntilUs: arrivalUs + message.valid_ms * 1000 });
      case 'certificates': return this.addresses.push(message.hashes);
      case 'goodbye': return void (this.#goodbye = message);
      case 'access': return this.access.told(message);
      case 'drain': return this.#drained();
      case 'state': return this.#setSource(message);
    }
  }

  #drained() {
    this.#drain = true;
    if (this.#roamer) this.#roamer.drain();
    else this.#loadRoamer();
  }

  /** @param {Message} message how the source of the broadcast is */
  #setSource(message) {
    const away = broadcastWords(message);
    this.#away = away !== null;
    this.#awayUs = nowUs();
    this.#roamer?.set({ live: !this.#away });
    if (away !== null) this.say('waiting', away, message.retry_in_ms);
    else if (this.state === 'waiting') this.say('joining', 'The source is there. Waiting for the first picture…');
  }

  /** Something was painted (or heard, where there is no picture). */
  playing() {
    if (this.state === 'playing' || this.state === 'roaming' || !this.session) return;
    // What was on its way is still shown after the source went; it does not mean that it is back.
    if (this.#away && nowUs() - this.#awayUs < STALE_STATE_US) return;
    this.say('playing', '');
    this.#loadRoamer();
  }

  async #loadRoamer() {
    if (this.#roamer || this.#loading) return;
    this.#loading = true;
    try {
      const module = await this.load();
      this.#roamer = new module.Roamer(this);
      this.#roamer.set({ live: !this.#away, visible: this.engine.visible });
      if (this.#drain) this.#roamer.drain();
    } catch { // it plays without; the next session tries again
    }
    this.#loading = false;
  }

  /** @param {number} now local µs @param {boolean} frozen the whole page stood still until now */
  watch(now, frozen) {
    const { session } = this;
    if (!session || !this.#open) return;
    if (frozen) session.heardUs = now;
    if (now - session.heardUs > SILENCE_US) session.close(0, 'nothing was heard from the gateway for 4 s');
  }
}
