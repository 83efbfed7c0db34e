/** How the engine goes on when another session takes the place of the one that played. */

import { nowUs } from './time.js';
import { openTransport, sessionUrl } from './transport.js';

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('./engine.js').Engine} Engine */
/** @typedef {import('./connector.js').Connector} Connector */

const SAME_TIME_US = 500_000; // gateways whose clocks differ by less show the same at the same time

/**
 * A transport to where the session that plays went: nothing is fetched, which a dead path would delay.
 * @param {Connector} connector @param {import('../types.js').TransportKind} kind
 * @param {typeof import('./racing.js') | null} sockets null: not loaded
 * @returns {import('../types.js').Transport} @throws {Error} there is no address, or it is of no use
 */
export function openBeside({ addresses, wish, wishes, place, engine }, kind, sockets) {
  const info = addresses.known;
  if (!info || !wish) throw new Error('no address is known');
  const resume = nowUs() < place.tokenUntilUs ? { resume: place.token, after: positionOf(engine) } : {};
  if (kind === 'webtransport') return openTransport(info, wish.broadcast, { ...wishes, ...resume });
  if (!info.webSocketUrl || !sockets) throw new Error('no WebSocket can be opened');
  return new sockets.WebSocketTransport(sessionUrl(info.webSocketUrl, wish.broadcast, { ...wishes, ...resume }));
}

/** The newest frames in order, of each track. @param {Engine} engine */
export const delivered = ({ video, sound }) => [video.delivered, sound.path?.delivered].filter((frame) => frame != null);

/** Where a session goes on that follows the one that plays (docs/protocol.md, "Resuming"). @param {Engine} engine */
export function positionOf(engine) {
  return delivered(engine).map(({ track, rendition, group, index }) => `${track}.${rendition}.${group}.${index}`).join();
}

/** Whether nothing so new of its track was delivered yet. @param {Engine} engine @param {Frame} frame */
export function isNewer(engine, { track, group, index }) {
  const last = delivered(engine).find((one) => one.track === track);
  return !last || group > last.group || (group === last.group && index > last.index);
}

/** The session that plays now is of the same instance: its frames follow. @param {Engine} engine */
export function follow(engine) {
  engine.viewing.followed();
  silenceEnds(engine);
}

/**
 * The session that plays now is of another instance. What is shown and heard goes on if the two agree on the time; the
 * clock is the old one's until the new one's is known.
 * @param {Engine} engine @param {number} timeUs of the new one @param {number} arrivalUs when it said so, local
 */
export function beginAnew(engine, timeUs, arrivalUs) {
  const { clock } = engine;
  if (!clock.ready || Math.abs(clock.toGateway(arrivalUs) - timeUs) > SAME_TIME_US) return engine.sessionOpened();
  engine.newPositions();
  engine.clockIsOld = true;
  engine.video.newSession(true);
  engine.sound.newSession(true);
  silenceEnds(engine);
}

/** What was captured until now comes late because nothing could come. @param {Engine} engine */
export function silenceEnds({ clock, video, sound }) {
  if (!clock.ready) return;
  const untilUs = clock.toGateway(nowUs());
  video.silentUntilUs = untilUs;
  if (sound.path) sound.path.silentUntilUs = untilUs;
}
