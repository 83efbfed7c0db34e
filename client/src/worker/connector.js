/**
 * Keeps a session open for as long as the page wants one: connects, listens for its end, waits
 * (exponential back-off with jitter), fetches the address and hashes anew, connects again.
 */

import { Backoff } from '../media/backoff.js';
import { Session, words } from './session.js';
import { nowUs } from './time.js';
import { fetchJson, mergeHashes, openTransport } from './transport.js';
import { afterEnd, afterFailedConnect, broadcastWords, verdict } from './words.js';

/** @typedef {import('../types.js').PlayerState} PlayerState */
/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('../types.js').TransportInfo} TransportInfo */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('./words.js').Verdict} Verdict */
/** @typedef {import('./engine.js').Engine} Engine */

const SILENCE_US = 4_000_000; // the gateway speaks every second: so much silence is a lost connection
const STEADY_US = 3_000_000; // a session that lasted so long starts the back-off over
const STALE_STATE_US = 1_500_000;
const WAITING_MS = 3000; // a broadcast that is not there yet is looked for that often
const BLIND_EVERY = 4; // failed fetches until the address at hand is tried: perhaps only the pages are down
const READY_MS = 8000;
const BLIND_READY_MS = 2500; // meanwhile nobody looks whether the pages are back

export class Connector {
  /** @type {PlayerState} */ state = 'idle';
  reconnects = 0;
  /** @type {import('../types.js').DatagramCounters} of all sessions */
  datagrams = { datagramsReceived: 0, fragmentsReceived: 0, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 0 };
  /** When the CONNECT was sent and when accepted, local µs. */
  connectUs = 0;
  readyUs = 0;
  #failedFetches = 0;
  #asked = false; // for what the page fetched
  #run = 0;
  /** @type {Session | null} */ #session = null;
  #open = false;
  #backoff = new Backoff();
  #wake = () => {};
  /** @type {TransportInfo | null} */ #info = null;
  /** @type {import('../types.js').CertificateHash[]} pushed on the control stream */ #pushed = [];
  /** @type {Message | null} */ #goodbye = null;
  #away = false;
  #awayUs = 0;
  /** @type {(info: TransportInfo | null) => void} */ #giveInfo = () => {};
  /** @type {Promise<TransportInfo | null>} */ #firstInfo = new Promise((resolve) => { this.#giveInfo = resolve; });

  /** @param {Engine} engine @param {import('./engine.js').EarlyTransport | null} early */
  constructor(engine, early) {
    this.engine = engine;
    this.early = early;
  }

  /** True while a session is open. */
  get open() {
    return this.#open;
  }

  /** The address that the page fetched. @param {TransportInfo | null} info @param {string} [_error] */
  setInfo(info, _error) {
    this.#giveInfo(info);
  }

  /** @param {StartMessage} wish */
  start(wish) {
    this.#backoff.reset();
    this.#loop(wish, ++this.#run);
  }

  stop() {
    this.#run++;
    this.#session?.close(0, 'the viewer stopped');
    this.#wake();
    this.#say('stopped', 'Stopped.');
  }

  /** What was received is of no use here, and trying again would not change it. @param {string} why */
  giveUp(why) {
    this.#run++;
    this.#session?.close(0, 'the viewer cannot decode it');
    this.#wake();
    this.#fail({ why });
  }

  retryNow() {
    this.#wake();
  }

  /** For tests: the session ends as if the network had gone. */
  drop() {
    this.#session?.close(0, 'dropped by a test');
  }

  /** @param {Message} message */
  send(message) {
    this.#session?.send(message);
  }

  /** @param {PlayerState} state @param {string} message @param {number} [retryInMs] */
  #say(state, message, retryInMs = 0) {
    this.state = state;
    this.engine.post({ type: 'state', state, message, retryInMs });
  }

  /** @param {StartMessage} wish @param {number} run */
  async #loop(wish, run) {
    this.#say('connecting', 'Connecting to the gateway…');
    while (run === this.#run) {
      const next = await this.#attempt(wish, run).catch((error) => verdict({ why: words(error) }));
      this.#session = null;
      this.#open = false;
      if (run !== this.#run) return;
      if (next.final) return this.#fail(next);
      const pause = Math.min(this.#backoff.next(next.leastMs), next.state === 'waiting' ? WAITING_MS : Infinity);
      const when = pause < 1000 ? '' : ` in ${Math.round(pause / 1000)} s`;
      this.#say(next.state, `${next.why}. Trying again${when}…`, pause);
      await this.#sleep(pause);
      // A viewer who waits for a broadcast need not see every look at whether it is there.
      if (run === this.#run && next.state !== 'waiting') this.#say('reconnecting', 'Connecting to the gateway…');
    }
  }

  /** @param {{why: string}} end */
  #fail({ why }) {
    this.#say('failed', `${why}.`);
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

  /** One session from CONNECT to its end. @param {StartMessage} wish @param {number} run @returns {Promise<Verdict>} */
  async #attempt(wish, run) {
    const transport = await this.#transport(wish);
    if (!transport) return verdict({ why: 'The gateway does not answer' });
    this.#goodbye = null;
    this.#away = false;
    const { viewing } = this.engine;
    this.engine.video.patienceUs = viewing.deadlineUs;
    this.engine.sessionOpened();
    const session = this.#session = new Session(transport, {
      frame: (frame) => this.engine.frame(frame),
      coming: (frame) => this.engine.video.coming(frame),
      lost: (frame) => this.engine.lost(frame),
      message: (message, arrivalUs) => this.engine.message(message, arrivalUs),
      bytes: (count) => this.engine.report.bytes.add(count, nowUs() / 1000),
      noDatagrams: () => session === this.#session && viewing.useStreams(),
    }, {
      wanted: viewing.delivery !== 'stream', deadlineUs: viewing.deadlineUs, counters: this.datagrams,
      reports: () => viewing.delivered !== 'stream',
      rttUs: () => Math.max(this.engine.gateway?.rtt_us ?? 0, this.engine.clock.rttUs), // the gateway's has its queues in it, that of pings has none
      clockOffsetUs: () => (this.engine.clock.ready ? this.engine.clock.offsetUs : null),
    });
    if (run !== this.#run) session.close(0, 'the viewer stopped');
    try {
      await session.ready(this.#failedFetches ? BLIND_READY_MS : READY_MS);
    } catch (error) {
      return this.#explain(wish, error);
    }
    return this.#attend(session, run);
  }

  /** @param {Session} session @param {number} run */
  async #attend(session, run) {
    const openedUs = nowUs();
    this.readyUs ||= openedUs;
    if (run === this.#run) {
      this.#open = true;
      if (this.state !== 'playing') this.#say('joining', 'Waiting for the first picture…');
    }
    const end = await session.ended;
    if (run === this.#run) this.reconnects++;
    if (nowUs() - openedUs > STEADY_US) this.#backoff.reset();
    return afterEnd(end, this.#goodbye);
  }

  /** @param {StartMessage} wish @returns {Promise<WebTransport | null>} */
  async #transport(wish) {
    const { early } = this;
    this.early = null;
    if (early) {
      this.#info = await this.#firstInfo;
      this.connectUs = early.connectUs;
      this.readyUs = early.readyUs;
      return early.transport;
    }
    const info = await this.#address(wish);
    if (!info) return null;
    this.connectUs = nowUs();
    this.readyUs = 0;
    return openTransport({ ...info, certificateHashes: this.#hashes(info) }, wish.broadcast, this.engine.viewing);
  }

  /** With no hashes in the API the certificate is a CA's, and none may be passed. @param {TransportInfo} info */
  #hashes({ certificateHashes }) {
    return certificateHashes.length ? mergeHashes(certificateHashes, this.#pushed) : [];
  }

  /** Fetched anew each time, because a restart may have changed port and certificate. @param {StartMessage} wish */
  async #address(wish) {
    if (!this.#asked) {
      this.#asked = true;
      this.#info = await this.#firstInfo;
      if (this.#info) return this.#info;
    } else if (wish.canRefetch) {
      try {
        this.#info = await fetchJson(wish.baseUrl, '/api/v1/transport');
        this.#failedFetches = 0;
        return this.#info;
      } catch { // judged below
      }
    } else {
      return this.#info;
    }
    this.#failedFetches++;
    return this.#failedFetches % BLIND_EVERY === 0 ? this.#info : null;
  }

  /** A browser does not tell a page why a CONNECT failed; the API does. @param {StartMessage} wish @param {unknown} error */
  async #explain(wish, error) {
    /** @type {string[] | null} */ let names = null;
    try {
      const list = await fetchJson(wish.baseUrl, '/api/v1/broadcasts');
      names = (Array.isArray(list) ? list : list.broadcasts).map((/** @type {{name: string}} */ b) => b.name);
    } catch { // its pages do not answer either
    }
    return afterFailedConnect(wish.broadcast, names, words(error));
  }

  /** @param {Message} message */
  message(message) {
    if (message.kind === 'certificates') this.#pushed = message.hashes;
    if (message.kind === 'goodbye') this.#goodbye = message;
    if (message.kind !== 'state') return;
    const away = broadcastWords(message);
    this.#away = away !== null;
    this.#awayUs = nowUs();
    if (away !== null) this.#say('waiting', away, message.retry_in_ms);
    else if (this.state === 'waiting') this.#say('joining', 'The source is there. Waiting for the first picture…');
  }

  /** Something was painted (or heard, where there is no picture). */
  playing() {
    if (this.state === 'playing' || !this.#session) return;
    // What was on its way is still shown after the source went; it does not mean that it is back.
    if (this.#away && nowUs() - this.#awayUs < STALE_STATE_US) return;
    this.#say('playing', '');
  }

  /** @param {number} now local µs @param {boolean} frozen the whole page stood still until now */
  watch(now, frozen) {
    const session = this.#session;
    if (!session || !this.#open) return;
    if (frozen) session.heardUs = now;
    if (now - session.heardUs > SILENCE_US) session.close(0, 'nothing was heard from the gateway for 4 s');
  }
}
