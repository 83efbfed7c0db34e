/**
 * While frames come over a WebSocket WebTransport is tried beside it, now and then and when the network changes; once it
 * delivers, it takes over as another path does: without a gap. Attempts are let wait for long: a browser holds a CONNECT
 * back after others have failed (media/attempts.js).
 */

import { Attempts } from '../media/attempts.js';
import { Challenger } from './challenger.js';
import { openBeside } from './handover.js';
import { nowUs } from './time.js';

/** @typedef {import('./connector.js').Connector} Connector */

const FIRST_MS = 5_000; // perhaps it was only slow
const EVERY_MS = 30_000;
const PATIENCE_MS = 20_000;
const NETWORK_MS = 2_000; // attempts for changes of the network are not closer
const MOST = 11; // in five minutes: the last of them waits for 10 s

export class Upgrader {
  #connector;
  #busy;
  #active = false;
  /** @type {Challenger | null} */ #challenger = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #next;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #patience;
  #triedUs = -Infinity;
  #attempts = new Attempts(MOST);

  /** @param {Connector} connector @param {() => boolean} busy whether another session is being opened beside the one that plays */
  constructor(connector, busy) {
    this.#connector = connector;
    this.#busy = busy;
  }

  /** @param {boolean} active whether a WebSocket plays where WebTransport would do */
  set(active) {
    if (active === this.#active) return;
    this.#active = active;
    this.drop();
    this.#arm(FIRST_MS);
  }

  /** The browser told of another network, perhaps more than once. */
  networkChanged() {
    const sinceMs = (nowUs() - this.#triedUs) / 1000;
    if (this.#active && sinceMs >= NETWORK_MS) this.#tryAnew();
    else this.#arm(NETWORK_MS - sinceMs, () => this.#tryAnew());
  }

  #tryAnew() {
    this.drop(); // its packets went to where nothing goes any more
    this.#try();
  }

  /** Nothing is tried now. */
  drop() {
    clearTimeout(this.#patience);
    const challenger = this.#challenger;
    this.#challenger = null;
    if (!challenger) return;
    challenger.close();
    this.#attempts.failed(nowUs());
  }

  /** @param {number} afterMs @param {() => void} [attempt] */
  #arm(afterMs, attempt = () => this.#try()) {
    clearTimeout(this.#next);
    if (this.#active) this.#next = setTimeout(attempt, afterMs);
  }

  #try() {
    this.#arm(EVERY_MS);
    if (this.#busy() || this.#challenger || !this.#attempts.allowed(nowUs())) return;
    this.#triedUs = nowUs();
    /** @type {import('../types.js').Transport} */ let transport;
    try {
      transport = openBeside(this.#connector, 'webtransport', null);
    } catch { // an address of no use: another one may come
      return;
    }
    const challenger = this.#challenger = new Challenger(this.#connector, transport, {
      heard: () => {},
      frame: (_, newer) => newer && this.#win(challenger),
      adopted: () => {},
      failed: () => this.#failed(challenger),
    });
    this.#patience = setTimeout(() => this.#giveUp(), PATIENCE_MS);
  }

  /** It delivers: it plays from now on. @param {Challenger} challenger */
  #win(challenger) {
    clearTimeout(this.#patience);
    this.#challenger = null; // it is not dropped any more
    this.#connector.roams++;
    challenger.win();
  }

  /** @param {Challenger} challenger */
  #failed(challenger) {
    if (challenger === this.#challenger) this.#giveUp();
  }

  /** The next attempt asks for the address anew. */
  #giveUp() {
    this.drop();
    this.#connector.addresses.refresh(this.#connector.wish);
  }
}
