/**
 * Opens a session: by WebTransport, mostly. Where that has not answered after its head start, cannot be used, or did not
 * work a short while ago, a script of its own is fetched that races it with a WebSocket.
 */

import { fetched } from './session.js';
import { nowUs } from './time.js';
import { openTransport } from './transport.js';

/** @typedef {import('../types.js').TransportInfo} TransportInfo */
/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./connector.js').Connector} Connector */

/** @type {() => Promise<typeof import('./racing.js')>} */
export const loadRacing = fetched('./racing.js');

const HEAD_START_MS = 500; // as media/race.js has it

/** Whether this browser has WebTransport here. */
export const supported = () => typeof WebTransport !== 'undefined';

/** @param {StartMessage | null} wish @returns {import('../types.js').FallbackReason} why a session goes over a WebSocket, if it does */
export function fallbackReason(wish) {
  if (wish?.transport === 'websocket') return 'asked';
  return supported() ? 'udp-blocked' : 'unsupported';
}

/** Neither can be tried here, and it would be the same the next time. */
export class Impossible extends Error {}

/**
 * @param {Connector} connector @param {StartMessage} wish @param {TransportInfo} info
 * @param {{early: import('./engine.js').EarlyTransport | null, patienceMs: number, wanted: () => boolean}} options
 * @returns {Promise<Session>} that is open, and joined to the engine
 * @throws {Error} none could be opened, in the browser's words; or an HttpError: this viewer is not let in
 */
export async function open(connector, wish, info, { early, patienceMs, wanted }) {
  const startedUs = early?.connectUs ?? nowUs();
  const alone = wish.transport === 'webtransport' || !info.webSocketUrl;
  const first = supported() && wish.transport !== 'websocket' ? begin(connector, wish, info, early) : null;
  if (!first && alone) throw new Impossible(`${wish.transport === 'websocket' ? 'This' : 'This browser has no WebTransport, and this'} gateway takes no WebSockets`);
  const left = (/** @type {number} */ ms) => ms - (nowUs() - startedUs) / 1000;
  if (first && (alone || !wish.socketWon)) {
    const answer = answered(first, left(alone ? patienceMs : HEAD_START_MS));
    if (alone ? await answer : await answer.catch(() => connector.addresses.check(wish))) return first;
    if (alone) throw new Error(`no answer within ${patienceMs / 1000} s`);
  }
  const module = await connector.loadRacing().catch(() => null);
  if (!wanted()) throw new Error('not wanted any more');
  if (module) return (connector.racing = new module.Racing(connector, wish, info, { first, startedUs, patienceMs })).open();
  if (first && await answered(first, left(patienceMs))) return first; // the pages do not answer: perhaps the media port does
  throw new Error('a part of the player could not be loaded');
}

/**
 * What it brings does not wait for the end of a race: the session is read from at once.
 * @param {Connector} connector @param {StartMessage} wish @param {TransportInfo} info @param {import('./engine.js').EarlyTransport | null} early
 */
function begin(connector, wish, info, early) {
  const session = connector.play(connector.begin(early?.transport ?? openTransport(info, wish.broadcast, connector.wishes)));
  session.opened.catch(() => connector.attempts.failed(nowUs()));
  return session;
}

/** @param {Session} session @param {number} ms @returns {Promise<boolean>} whether it is open by then @throws {Error} it was refused */
async function answered({ opened }, ms) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, Math.max(0, ms)); });
  try {
    return await Promise.race([opened.then(() => true), late.then(() => false)]);
  } finally {
    clearTimeout(timer);
  }
}
