/**
 * Which transport a session takes, of two: WebTransport has a head start, a WebSocket is opened beside it where that
 * has not answered by then, and the first to open is used (docs/protocol.md, "Over a WebSocket").
 *
 * 1. WebTransport is opened at once, the WebSocket after HEAD_START_US; at once where there is no WebTransport, where it
 *    failed before, and where a WebSocket was what worked a short while ago.
 * 2. The first that is open wins, and the other one is closed. Of two at the same time WebTransport wins.
 * 3. It is lost when there is nothing left to wait for, or `patienceUs` after the beginning; what is still opening is
 *    closed then.
 * 4. Who asks for one of them gets no other.
 *
 * Pure: `nowUs` is any monotonic clock.
 */

/** @typedef {'webtransport' | 'websocket'} TransportKind */
/** @typedef {'auto' | TransportKind} TransportChoice */
/** In order. @typedef {{type: 'open' | 'close' | 'won', kind: TransportKind} | {type: 'lost'}} RaceAction */
/**
 * @typedef {object} Start
 * @property {TransportChoice} [choice]
 * @property {boolean} [supported] this browser has WebTransport here
 * @property {boolean} [offered] an address for a WebSocket is known
 * @property {boolean} [remembered] a WebSocket won a short while ago
 * @property {number} [patienceUs]
 */

export const HEAD_START_US = 500_000;

/** @param {TransportKind} kind */
const other = (kind) => (kind === 'webtransport' ? 'websocket' : 'webtransport');

export class Race {
  /** @type {Map<TransportKind, 'to come' | 'opening' | 'failed'>} those that take part */ #runners = new Map();
  #headStartUs;
  #patienceUs;
  #startedUs = 0;
  #over = false;

  /** @param {Start} [start] */
  constructor({ choice = 'auto', supported = true, offered = true, remembered = false, patienceUs = Infinity } = {}) {
    if (supported && choice !== 'websocket') this.#runners.set('webtransport', 'to come');
    if (offered && choice !== 'webtransport') this.#runners.set('websocket', 'to come');
    this.#headStartUs = remembered ? 0 : HEAD_START_US;
    this.#patienceUs = patienceUs;
  }

  /** @param {number} nowUs @returns {RaceAction[]} */
  begin(nowUs) {
    this.#startedUs = nowUs;
    return this.advance(nowUs);
  }

  /** One of them is open. @param {TransportKind} kind @returns {RaceAction[]} */
  ready(kind) {
    if (this.#over || this.#runners.get(kind) !== 'opening') return [];
    this.#over = true;
    /** @type {RaceAction[]} */ const actions = [{ type: 'won', kind }];
    if (this.#runners.get(other(kind)) === 'opening') actions.push({ type: 'close', kind: other(kind) });
    return actions;
  }

  /** One of them was refused, or broke off. @param {TransportKind} kind @param {number} nowUs @returns {RaceAction[]} */
  failed(kind, nowUs) {
    if (this.#runners.get(kind) === 'opening') this.#runners.set(kind, 'failed');
    return this.advance(nowUs);
  }

  /** Does what time demands. @param {number} nowUs @returns {RaceAction[]} */
  advance(nowUs) {
    if (this.#over) return [];
    if (nowUs >= this.#startedUs + this.#patienceUs) return this.#lose();
    /** @type {RaceAction[]} */ const actions = [];
    for (const [kind, state] of this.#runners) {
      if (state !== 'to come' || nowUs < this.#dueUs(kind)) continue;
      this.#runners.set(kind, 'opening');
      actions.push({ type: 'open', kind });
    }
    return [...this.#runners.values()].every((state) => state === 'failed') ? this.#lose() : actions;
  }

  /** When advance() has something to do if nothing else happens; null: never. @returns {number | null} */
  nextTimeout() {
    if (this.#over) return null;
    const dues = [...this.#runners].filter(([, state]) => state === 'to come').map(([kind]) => this.#dueUs(kind));
    const next = Math.min(this.#startedUs + this.#patienceUs, ...dues);
    return Number.isFinite(next) ? next : null;
  }

  /** When one that has not begun does. @param {TransportKind} kind */
  #dueUs(kind) {
    const waits = kind === 'websocket' && this.#runners.get('webtransport') !== undefined && this.#runners.get('webtransport') !== 'failed';
    return this.#startedUs + (waits ? this.#headStartUs : 0);
  }

  /** @returns {RaceAction[]} */
  #lose() {
    this.#over = true;
    const opening = [...this.#runners].filter(([, state]) => state === 'opening');
    return [...opening.map(([kind]) => /** @type {RaceAction} */ ({ type: 'close', kind })), { type: 'lost' }];
  }
}
