/** States in plain words, for the list and over the picture. Pure; imports format.js only. */

import { secondsLeft } from './format.js';

/**
 * A broadcast as GET /api/v1/broadcasts lists it.
 * @typedef {{name: string, state: string, reason: string, retryInMs: number, source: string,
 *   viewers: number, uptimeS: number, tracks: ApiTrack[]}} Summary
 * @typedef {{id: number, kind: string, renditions: ApiRendition[]}} ApiTrack
 * @typedef {{id: number, codec: string, bitrateBps?: number, width?: number, height?: number,
 *   fps?: number, sampleRate?: number, channels?: number}} ApiRendition
 */

/**
 * What the page knows when something is to be said over the picture.
 * @typedef {object} Situation
 * @property {import('../types.js').PlayerState} state
 * @property {string} message the player's own words
 * @property {import('../types.js').FailureCode} [code] why the gateway does not let this page watch
 * @property {number} retryInMs left until it tries again; 0: now, or unknown
 * @property {string} broadcast
 * @property {Summary | null | undefined} summary null: the gateway has no such broadcast; undefined: not known
 * @property {boolean} reachable whether the gateway's pages answer
 */

/** @typedef {'retry' | 'resume' | 'list' | 'reload'} Action */
/** `form`: a token can be given. @typedef {{title: string, detail: string, busy: boolean, actions: Action[], form?: boolean}} Words */

/** Refusals after which a token may be given. */
const ASKED = ['unauthorized', 'forbidden', 'revoked'];

/** The state of a broadcast in the list. @param {Summary} summary @returns {{state: string, detail: string}} */
export function broadcastWords(summary) {
  const { state, reason, retryInMs } = summary;
  switch (state) {
    case 'live': return { state: 'Live', detail: '' };
    case 'idle': return { state: 'Ready', detail: 'starts when you open it' };
    case 'connecting': return { state: 'Opening the source', detail: reason };
    case 'retrying': {
      const again = retryInMs > 0 ? `trying again in ${secondsLeft(retryInMs)}` : 'trying again';
      return { state: 'Source away', detail: reason ? `${reason}; ${again}` : again };
    }
    case 'ended': return { state: 'Ended', detail: reason };
    default: return { state, detail: reason };
  }
}

/** What is said over the picture; null while it plays. @param {Situation} now @returns {Words | null} */
export function stageWords(now) {
  if (now.state === 'playing') return null;
  if (now.state === 'stopped') {
    return { title: 'Paused', detail: 'Playing goes on with what is live.', busy: false, actions: ['resume'] };
  }
  if (now.reachable && now.summary === null && now.state !== 'failed') return absent(now.broadcast);
  switch (now.state) {
    case 'waiting': return waiting(now);
    case 'roaming': return { title: 'The network is silent', detail: 'Another way is being tried. The picture goes on as soon as one delivers.', busy: true, actions: [] };
    case 'reconnecting': return reconnecting(now);
    case 'failed':
      return now.code ? refused(now.code, now.message) : {
        title: 'This cannot be played here', detail: sentence(now.message), busy: false, actions: ['retry', 'list'],
      };
    default: return { title: 'Connecting', detail: '', busy: true, actions: [] };
  }
}

/** @param {string} broadcast @returns {Words} */
function absent(broadcast) {
  return {
    title: `There is no broadcast “${broadcast}”`,
    detail: 'It may be starting, or it has another name. This page plays it as soon as it appears.',
    busy: false,
    actions: ['list'],
  };
}

/** @param {Situation} now @returns {Words} */
function waiting(now) {
  if (now.summary?.state === 'ended') {
    return { title: 'This broadcast has ended', detail: sentence(now.summary.reason), busy: false, actions: ['list'] };
  }
  const again = now.retryInMs > 0 ? `The gateway tries again in ${secondsLeft(now.retryInMs)}.` : '';
  const reason = sentence(now.summary?.reason || now.message);
  return { title: 'Waiting for the source', detail: `${reason} ${again}`.trim(), busy: true, actions: [] };
}

/** @param {string} code @param {string} message @returns {Words} */
function refused(code, message) {
  const title = message.replace(/\.$/, '');
  if (!ASKED.includes(code)) return { title, detail: '', busy: false, actions: ['retry', 'list'] };
  return { title, detail: 'Ask who sent you here for a link that is valid, or paste one.', busy: false, actions: ['list'], form: true };
}

/** @param {Situation} now @returns {Words} */
function reconnecting(now) {
  if (now.code === 'limit') return { title: 'The gateway is full', detail: sentence(now.message), busy: true, actions: ['retry'] };
  const title = now.retryInMs > 0 ? `Reconnecting in ${secondsLeft(now.retryInMs)}` : 'Reconnecting';
  const detail = now.reachable ? sentence(now.message) : 'The gateway does not answer. It may be restarting, or the network is down.';
  return { title, detail, busy: true, actions: now.retryInMs > 1500 ? ['retry'] : [] };
}

/** A message as a sentence: capital first, full stop last. @param {string} text */
export function sentence(text) {
  const trimmed = text.trim();
  if (!trimmed) return '';
  const named = /^\S*[:/.]\S/.test(trimmed); // an address or a file keeps its spelling
  const capital = named ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

/** What frames come over, and why not the usual. @param {Pick<import('../types.js').PlayerStats, 'transport' | 'transportReason'>} stats */
export function transportWords({ transport, transportReason }) {
  if (transport !== 'websocket') return 'WebTransport';
  return new Map([['udp-blocked', 'WebSocket (UDP is blocked)'], ['unsupported', 'WebSocket (no WebTransport in this browser)']])
    .get(transportReason) ?? 'WebSocket';
}

/** Short word beside the broadcast's name. @param {import('../types.js').PlayerState} state */
export function shortState(state) {
  return new Map([
    ['playing', 'live'], ['waiting', 'waiting'], ['joining', 'connecting'], ['idle', 'connecting'], ['stopped', 'paused'],
    ['failed', 'not playing'], ['roaming', 'network silent'],
  ]).get(state) ?? state;
}
