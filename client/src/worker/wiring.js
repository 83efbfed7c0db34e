/** What a session is joined to: nothing, or the engine, once it is the one that plays. */

import { Session } from './session.js';
import { nowUs } from './time.js';

/** @typedef {import('./session.js').SessionHandlers} SessionHandlers */
/** @typedef {import('./engine.js').Engine} Engine */

const nothing = () => {};
/** Let everything pass. @type {Readonly<SessionHandlers>} */
export const DEAF = { heard: nothing, bytes: nothing, frame: nothing, coming: nothing, lost: nothing, message: nothing, noDatagrams: nothing };

/** @param {Engine} engine @param {import('../types.js').Transport} transport @param {SessionHandlers} handlers that hear of it until it plays */
export function begin(engine, transport, handlers) {
  const { viewing, connector } = engine;
  return new Session(transport, handlers, {
    // A WebSocket has no datagrams, which is nothing to remember: the next session may have them.
    wanted: viewing.delivery !== 'stream' && !('kind' in transport), deadlineUs: viewing.deadlineUs, counters: connector.datagrams,
    reports: () => viewing.delivered !== 'stream',
    rttUs: () => engine.rttUs,
    clockOffsetUs: () => (engine.clock.ready ? engine.clock.offsetUs : null),
  });
}

/** @param {Engine} engine @param {() => void} heard @returns {SessionHandlers} of the session that plays */
export function playing(engine, heard) {
  return {
    heard,
    bytes: (count) => engine.report.bytes.add(count, nowUs() / 1000),
    frame: (frame) => engine.frame(frame),
    coming: (position) => engine.video.coming(position),
    lost: (position) => engine.lost(position),
    message: (message, arrivalUs) => engine.message(message, arrivalUs),
    noDatagrams: () => engine.viewing.useStreams(),
  };
}
