/**
 * Watches over the session that plays, and opens another one beside it where media/roaming.js says so: the network is
 * silent, or has changed, or the gateway is about to go. A script of its own, fetched with the first picture.
 */

import { Backoff } from '../media/backoff.js';
import { Roaming } from '../media/roaming.js';
import { Challenger } from './challenger.js';
import { openBeside, silenceEnds } from './handover.js';
import { nowUs } from './time.js';
import { Upgrader } from './upgrade.js';

/** @typedef {import('../media/roaming.js').Kind} Kind */
/** @typedef {import('../media/roaming.js').Action} Action */
/** @typedef {import('./connector.js').Connector} Connector */
/** @typedef {import('../types.js').TransportKind} TransportKind */

const LATE_US = 60_000; // a timer that comes so late: the whole worker stood still,
const GRACE_MS = 30; // and what had come meanwhile is read first
const BROKE_OFF_MS = 2500; // for a session to come up in place of one that broke off
const PATIENCE_MS = 400; // with one of which nothing is heard, the first time: its first datagram may have gone nowhere
const HANDSHAKE_ROUNDS = 3; // that take a round trip each, and one to spare
const FRESH_US = 150_000;
const AGAIN = { firstMs: 60, factor: 2, maxMs: 600 }; // meanwhile: an interface may be down before the next one is up

const SILENT = 'The network is silent. Another way to the gateway is being tried…';
const BROKEN = 'The connection broke off. Another one is being opened…';

export class Roamer {
  #connector;
  #rules = new Roaming();
  /** @type {Challenger | null} */ #challenger = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {number | null} */ #timerUs = null;
  #silent = false; // as was told last
  #won = false; // the challenger, but it does not play yet
  #instead = false; // it is opened in place of one that is over
  #openedUs = 0;
  #attempts = 0; // of those since then
  #again = new Backoff(AGAIN);
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #againTimer;
  /** Told when a session has come up in place of one that broke off, or none has. @type {((up: boolean) => void) | null} */ #waiting = null;

  #heard = false; // anything from the challenger
  /** @type {TransportKind} of the challenger */ #kind = 'webtransport';
  #failures = 0; // of challengers in a row of which nothing was heard
  /** @type {typeof import('./racing.js') | null} */ #sockets = null;
  #upgrader;

  /** @param {Connector} connector */
  constructor(connector) {
    this.#connector = connector;
    this.#upgrader = new Upgrader(connector, () => this.#challenger !== null || this.#waiting !== null);
    this.opened();
  }

  /** A session plays that did not before. */
  opened() {
    const { transportReason } = this.#connector;
    this.#failures = 0;
    this.#upgrader.set(transportReason === 'udp-blocked');
    if (transportReason) this.#loadSockets();
  }

  /** So that a session that goes over a WebSocket can be followed by another one at once. */
  #loadSockets() {
    if (!this.#sockets) this.#connector.loadRacing().then((module) => { this.#sockets = module; }, () => {});
  }

  /** How the session that plays is, and who looks. @param {{live?: boolean, visible?: boolean}} situation */
  set({ live = this.#rules.live, visible = this.#rules.visible }) {
    Object.assign(this.#rules, { live, visible });
    this.#do(this.#rules.advance(nowUs()));
  }

  /** A byte of anything came on the session that plays. */
  heard() {
    this.#do(this.#rules.heard(nowUs()));
    this.#failures = 0; // the way there is was good enough
  }

  /** A frame can be decoded: all that was before it has come. @param {Kind} kind */
  delivered(kind) {
    this.#do(this.#rules.frame(kind, nowUs()));
  }

  /** The browser told of another network, or that the page has come back to life. */
  networkChanged() {
    if (this.#waiting && this.#instead) {
      this.#attempts = 0;
      this.#again.reset();
      // One on its way has found a network, and its token can be used once.
      if (!this.#challenger || nowUs() - this.#openedUs > FRESH_US) this.#open(true);
      return;
    }
    this.#upgrader.networkChanged();
    this.#do(this.#rules.networkChanged(nowUs()));
  }

  /** The gateway goes. It does not tell all its viewers at once, so they need not wait for each other. */
  drain() {
    this.#do(this.#rules.drain(nowUs()));
  }

  /** The session that played is over, and another one is opened at once. @returns {Promise<boolean>} whether one plays now */
  async brokeOff() {
    if (this.#connector.state === 'playing') this.#connector.say('roaming', BROKEN);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(false), BROKE_OFF_MS);
      this.#waiting = (up) => {
        clearTimeout(timer);
        resolve(up);
      };
      this.#do(this.#rules.ended(nowUs()));
    });
  }

  /** No session plays, or what comes has nothing to do with what was. */
  stop() {
    clearTimeout(this.#timer);
    this.#timerUs = null;
    this.#silent = false;
    this.#drop();
    this.#upgrader.set(false);
    this.#settle(false);
    const { live, visible } = this.#rules;
    Object.assign(this.#rules = new Roaming(), { live, visible });
  }

  /** @param {boolean} up */
  #settle(up) {
    clearTimeout(this.#againTimer);
    this.#attempts = 0;
    this.#again.reset();
    this.#waiting?.(up);
    this.#waiting = null;
  }

  #drop() {
    if (this.#challenger && !this.#heard) this.#notHeard();
    this.#challenger?.close();
    this.#challenger = null;
    this.#won = false;
  }

  /** Nothing came of the challenger: the next one asks for the address anew, and goes the other way where there is one. */
  #notHeard() {
    this.#failures++;
    if (this.#kind === 'webtransport') this.#connector.attempts.failed(nowUs());
    this.#connector.addresses.refresh(this.#connector.wish);
  }

  /** What the next challenger goes over: what the session that plays does; after one in vain the other one. @returns {TransportKind} */
  #nextKind() {
    const { transport, transportReason, wish, addresses } = this.#connector;
    if (wish?.transport !== 'auto' || transportReason === 'unsupported' || this.#failures === 0) return transport;
    if (this.#kind === 'websocket') return 'webtransport';
    return this.#sockets && addresses.known?.webSocketUrl ? 'websocket' : 'webtransport';
  }

  /** @param {Action[]} actions */
  #do(actions) {
    for (const action of actions) this.#act(action);
    this.#say();
    this.#arm();
  }

  /** @param {Action} action */
  #act(action) {
    switch (action) {
      case 'ping': return this.#connector.engine.ping();
      case 'close_spare': return this.#drop();
      case 'open': return this.#open();
      case 'switch': return this.#win();
      case 'lost': return this.#open(true);
    }
  }

  /** @param {boolean} [instead] of a session that is over, not beside it */
  #open(instead = false) {
    clearTimeout(this.#againTimer);
    this.#drop();
    this.#upgrader.drop();
    this.#won = this.#instead = instead;
    if (this.#connector.wish?.transport === 'auto' && this.#connector.addresses.known?.webSocketUrl) this.#loadSockets(); // for the next one
    const kind = this.#kind = this.#nextKind();
    if (kind === 'webtransport' && !this.#connector.attempts.allowed(nowUs())) return this.#exhausted();
    this.#heard = false;
    /** @type {import('../types.js').Transport} */ let transport;
    try {
      transport = openBeside(this.#connector, kind, this.#sockets);
    } catch {
      this.#notHeard();
      return this.#failed();
    }
    this.#openedUs = nowUs();
    const challenger = this.#challenger = new Challenger(this.#connector, transport, {
      heard: () => this.#spareHeard(),
      frame: (kind, newer) => this.#do(this.#rules.spareFrame(kind, nowUs(), newer)),
      adopted: () => this.#adopted(),
      failed: () => {
        if (challenger !== this.#challenger) return;
        if (!this.#heard) this.#notHeard();
        this.#failed();
      },
    });
    if (!instead) return;
    challenger.win();
    const patienceMs = Math.max(PATIENCE_MS, (HANDSHAKE_ROUNDS * this.#rules.rttUs) / 1000) * 2 ** this.#attempts++;
    this.#againTimer = setTimeout(() => this.#open(true), patienceMs);
  }

  /** A browser would hold another CONNECT back for longer than it is waited for here. */
  #exhausted() {
    this.#failures++; // a WebSocket may be next
    if (this.#waiting && this.#won) return this.#settle(false); // the ordinary way: ask the pages first
    this.#failed();
  }

  #spareHeard() {
    this.#heard = true;
    this.#failures = 0;
    if (this.#instead) clearTimeout(this.#againTimer);
    if (!this.#won) this.#do(this.#rules.spareHeard(nowUs())); // else it is main as soon as it can be used
  }

  #win() {
    this.#won = true;
    this.#challenger?.win();
  }

  #adopted() {
    this.#challenger = null;
    this.#won = false;
    this.#connector.roams++;
    this.#connector.engine.report.gap.around(nowUs());
    this.#settle(true);
    this.#do(this.#rules.heard(nowUs()));
  }

  #failed() {
    const won = this.#won;
    this.#challenger = null;
    this.#won = false;
    if (this.#waiting && won) {
      clearTimeout(this.#againTimer);
      this.#againTimer = setTimeout(() => this.#open(true), this.#again.next());
      return;
    }
    // It was to follow a gateway that goes, which is still there.
    this.#do(won ? this.#rules.drain(nowUs()) : this.#rules.spareFailed(nowUs()));
  }

  #say() {
    const { state, engine } = this.#connector;
    const { roaming } = this.#rules;
    if (roaming !== this.#silent) {
      this.#silent = roaming;
      engine.report.gap.around(nowUs());
      if (!roaming) silenceEnds(engine);
    }
    if (roaming && state === 'playing') this.#connector.say('roaming', SILENT);
    else if (state === 'roaming' && !roaming && !this.#waiting) this.#connector.say('playing', '');
  }

  /** One timer for all: when it comes and there is nothing to do, because something was heard meanwhile, it is set again. */
  #arm() {
    const dueUs = this.#rules.nextTimeout();
    if (dueUs !== null && (this.#timerUs === null || dueUs < this.#timerUs)) this.#set(dueUs);
  }

  /** @param {number} dueUs */
  #set(dueUs) {
    clearTimeout(this.#timer);
    this.#timerUs = dueUs;
    this.#timer = setTimeout(() => this.#onTimer(dueUs), Math.max(0, Math.ceil((dueUs - nowUs()) / 1000)));
  }

  /** @param {number} dueUs */
  #onTimer(dueUs) {
    const now = nowUs();
    if (now - dueUs > LATE_US) return this.#set(now + GRACE_MS * 1000);
    this.#timerUs = null;
    this.#rules.rttUs = this.#connector.engine.rttUs;
    this.#do(this.#rules.advance(now));
  }
}
