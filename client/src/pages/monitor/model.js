/** What the monitor makes of the gateway's answers. Pure; imports format only. */

import * as format from '../format.js';

/**
 * @typedef {{id: string, broadcast: string, client: string, ageS: number, bytesSent: number, framesSent: number, framesDropped: number,
 *   rttUs: number, loss: number, queueingUs: number, queuedBytes: number, estimateBps: number, rendition: number, renditionReason: string,
 *   worker: number, streamsReset: number, latencyMs: Record<string, number>, transport?: string, identity?: string, address?: string}} Session
 * @typedef {{at: number, rateBps: number, loss: number, rttUs: number, queueingUs: number, queuedBytes: number, framesSent: number,
 *   framesDropped: number, latencyMs: Record<string, number>}} SessionSample
 * @typedef {import('./events.js').GatewayEvent} GatewayEvent
 */

const NBSP = '\u00a0';

/** Bit rates from counters of bytes that are read again and again. */
export class Rates {
  /** @type {Map<string, {bytes: number, atMs: number}>} */ #last = new Map();

  /** @param {Pick<Session, 'id' | 'bytesSent'>[]} sessions @param {number} atMs @returns {Map<string, number>} bit/s; of those seen before */
  update(sessions, atMs) {
    /** @type {Map<string, number>} */ const rates = new Map();
    /** @type {Map<string, {bytes: number, atMs: number}>} */ const next = new Map();
    for (const { id, bytesSent } of sessions) {
      const before = this.#last.get(id);
      if (before && atMs > before.atMs) rates.set(id, Math.max(0, (8000 * (bytesSent - before.bytes)) / (atMs - before.atMs)));
      next.set(id, { bytes: bytesSent, atMs });
    }
    this.#last = next;
    return rates;
  }
}

/** What goes out of each broadcast. @param {Session[]} sessions @param {Map<string, number>} rates @returns {Map<string, number>} */
export function rateOfBroadcasts(sessions, rates) {
  /** @type {Map<string, number>} */ const sums = new Map();
  for (const { id, broadcast } of sessions) sums.set(broadcast, (sums.get(broadcast) ?? 0) + (rates.get(id) ?? 0));
  return sums;
}

/** Capture to paint; 0: not known. @param {Record<string, number>} stages ms */
export function totalMs(stages) {
  return Object.values(stages).reduce((sum, ms) => sum + Math.max(0, ms), 0);
}

/**
 * @template T
 * @param {readonly T[]} items @param {(item: T) => string | number} key @param {boolean} falling
 * @returns {T[]} in a new list; equal ones stay in their order
 */
export function sorted(items, key, falling) {
  const sign = falling ? -1 : 1;
  return [...items].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (typeof x === 'string' || typeof y === 'string') return sign * String(x).localeCompare(String(y), 'en', { numeric: true });
    return sign * (x - y);
  });
}

/** Memory and the like. @param {number} bytes */
export function formatBytes(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = Math.max(0, bytes);
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit && value < 9.95 ? value.toFixed(1) : value.toFixed(0)}${NBSP}${units[unit]}`;
}

/** How long something has been there. @param {number} seconds */
export function formatAge(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days}${NBSP}d ${hours}${NBSP}h`;
  if (hours) return `${hours}${NBSP}h ${minutes}${NBSP}min`;
  return minutes ? `${minutes}${NBSP}min ${whole % 60}${NBSP}s` : `${whole}${NBSP}s`;
}

/** Shares of one as percent. @param {number} share */
export const formatLoss = (share) => format.formatShare(share * 1e6);

/** @param {number} us */
export const formatUs = (us) => format.formatMs(us / 1000);

/** @param {number} share of one core */
export const formatCores = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}${NBSP}%`;

/** @param {unknown} transport */
export const formatTransport = (transport) => (transport === 'websocket' ? 'WebSocket' : 'WebTransport');

/** @type {Record<string, string>} */
const KINDS = {
  'broadcast.added': 'was added', 'broadcast.removed': 'was removed', 'broadcast.changed': 'has other settings',
  'broadcast.available': 'is live', 'broadcast.unavailable': 'is not live any more', 'broadcast.read': 'has its first viewer',
  'broadcast.unread': 'has no viewer any more', 'session.opened': 'has a new viewer', 'session.closed': 'has lost a viewer',
  'certificate.rotated': 'The certificate was changed', 'config.reloaded': 'The configuration was read again',
  'config.refused': 'The configuration was refused, nothing has changed', 'worker.died': 'A worker died and is replaced',
  'source.died': 'lost the process of its source', 'access.refused': 'Somebody was refused', 'limit.reached': 'A limit was reached',
  degraded: 'Something is short', recovered: 'That is over',
};
const TROUBLE = new Set(['config.refused', 'worker.died', 'source.died', 'limit.reached', 'degraded', 'broadcast.unavailable']);

/** Of these the sentence tells enough, or they are for programs. */
const UNSAID = new Set(['state', 'worker', 'code', 'framesSent', 'bytesSent', 'resumes', 'broadcast', 'session', 'reason', 'transport', 'durationS']);

/** @param {GatewayEvent['fields']} fields */
function detailWords(fields) {
  const { reason, transport, durationS } = fields;
  /** @type {unknown[]} */ const parts = [reason];
  if (typeof durationS === 'number') parts.push(`after ${formatAge(durationS)}`);
  if (transport) parts.push(`over ${formatTransport(transport)}`);
  for (const [name, value] of Object.entries(fields)) {
    if (!UNSAID.has(name) && value !== '') parts.push(`${name.replace(/[A-Z]/g, (sign) => ` ${sign.toLowerCase()}`)} ${value}`);
  }
  return parts.filter(Boolean).join(' · ');
}

/** @param {GatewayEvent} event @returns {{what: string, detail: string, trouble: boolean, broadcast: string, session: string}} */
export function eventWords({ kind, fields }) {
  const { broadcast = '', session = '' } = fields;
  const words = KINDS[kind] ?? kind;
  const ofBroadcast = broadcast && /^(broadcast|session|source)\./.test(kind);
  return {
    what: ofBroadcast ? `${broadcast} ${words}` : words,
    detail: detailWords(fields),
    trouble: TROUBLE.has(kind),
    broadcast: String(broadcast),
    session: String(session),
  };
}

/** @typedef {{page: 'overview'} | {page: 'session' | 'broadcast', name: string}} Place */

/** Which page the address names. @param {string} hash @returns {Place} */
export function placeOf(hash) {
  const match = /^#\/(session|broadcast)\/(.+)$/.exec(hash);
  if (!match) return { page: 'overview' };
  try {
    return { page: /** @type {'session' | 'broadcast'} */ (match[1]), name: decodeURIComponent(match[2] ?? '') };
  } catch {
    return { page: 'overview' };
  }
}

/** @param {'session' | 'broadcast'} page @param {string} name */
export const placeHref = (page, name) => `#/${page}/${encodeURIComponent(name)}`;
