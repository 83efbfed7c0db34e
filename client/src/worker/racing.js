/**
 * WebTransport and a WebSocket beside it, of which the first to open is used (media/race.js). A script of its own, with the
 * WebSocket in it: most visits need neither.
 */

import { Race } from '../media/race.js';
import { nowUs } from './time.js';
import { sessionUrl } from './transport.js';
import { WebSocketTransport } from './websocket.js';

/** @typedef {import('../types.js').TransportInfo} TransportInfo */
/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('../media/race.js').TransportKind} TransportKind */
/** @typedef {import('../media/race.js').RaceAction} RaceAction */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./connector.js').Connector} Connector */

export { WebSocketTransport };

export class Racing {
  #connector;
  #wish;
  #info;
  #startedUs;
  #patienceMs;
  #race;
  #error = '';
  #over = false;
  /** @type {Map<TransportKind, Session>} */ #sessions = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {(session: Session) => void} */ #resolve = () => {};
  /** @type {(error: Error) => void} */ #reject = () => {};

  /**
   * @param {Connector} connector @param {StartMessage} wish @param {TransportInfo} info
   * @param {{first: Session | null, startedUs: number, patienceMs: number}} options `first`: over WebTransport, begun at `startedUs`;
   *   null: there is none
   */
  constructor(connector, wish, info, { first, startedUs, patienceMs }) {
    this.#connector = connector;
    this.#wish = wish;
    this.#info = info;
    this.#startedUs = startedUs;
    this.#patienceMs = patienceMs;
    if (first) this.#sessions.set('webtransport', first);
    this.#race = new Race({
      choice: wish.transport, supported: first !== null, offered: Boolean(info.webSocketUrl), remembered: wish.socketWon,
      patienceUs: patienceMs * 1000,
    });
  }

  /** @returns {Promise<Session>} that is open, and joined to the engine @throws {Error} none could be opened, in the browser's words */
  open() {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#do(this.#race.begin(this.#startedUs));
      this.#do(this.#race.advance(nowUs()));
    });
  }

  /** Nobody wants it any more. */
  cancel() {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    for (const kind of this.#sessions.keys()) this.#close(kind);
    this.#reject(new Error('not wanted any more'));
  }

  /** @param {RaceAction[]} actions */
  #do(actions) {
    for (const action of actions) this.#act(action);
    clearTimeout(this.#timer);
    const dueUs = this.#race.nextTimeout();
    if (dueUs === null || this.#over) return;
    this.#timer = setTimeout(() => this.#do(this.#race.advance(nowUs())), Math.max(0, Math.ceil((dueUs - nowUs()) / 1000)));
  }

  /** @param {RaceAction} action */
  #act(action) {
    switch (action.type) {
      case 'open': return void this.#begin(action.kind);
      case 'close': return this.#close(action.kind);
      case 'won':
        this.#over = true;
        return this.#resolve(/** @type {Session} */ (this.#sessions.get(action.kind)));
      case 'lost':
        this.#over = true;
        return this.#reject(new Error(this.#error || `no answer within ${this.#patienceMs / 1000} s`));
    }
  }

  /** @param {TransportKind} kind */
  async #begin(kind) {
    try {
      const session = this.#sessions.get(kind) ?? this.#beginSocket();
      await session.opened;
      if (this.#over) return;
      // Within the task that opened it: what comes next finds it joined to the engine.
      if (kind === 'websocket') this.#connector.play(session);
      this.#do(this.#race.ready(kind));
    } catch (error) {
      if (this.#over) return;
      // What WebTransport says comes first: the other one is a way around it.
      if (kind === 'webtransport' || !this.#error) this.#error = error instanceof Error ? error.message : String(error);
      this.#do(this.#race.failed(kind, nowUs()));
    }
  }

  #beginSocket() {
    const url = sessionUrl(this.#info.webSocketUrl ?? '', this.#wish.broadcast, this.#connector.wishes);
    const session = this.#connector.begin(new WebSocketTransport(url));
    this.#sessions.set('websocket', session);
    return session;
  }

  /** @param {TransportKind} kind */
  #close(kind) {
    const session = this.#sessions.get(kind);
    if (session) this.#connector.leave(session, 'another transport answered first');
  }
}
