/** What ends and broadcast states mean for a viewer, in plain words. Pure. */

/** @typedef {import('../types.js').PlayerState} PlayerState */
/** @typedef {import('../types.js').FailureCode} FailureCode */
/** @typedef {{state: PlayerState, why: string, leastMs: number, final: boolean, code: FailureCode}} Verdict what to do after an end */

const LIMIT_MS = 10_000;

/** Close codes of docs/protocol.md. @type {Record<number, Partial<Verdict> & {why: string}>} */
const CODES = {
  0x00: { why: 'The gateway ended the session' },
  0x01: { why: 'The gateway is restarting' },
  0x02: { why: 'The gateway had a fault' },
  0x10: { why: 'Gateway and player misunderstood each other (a bug)', leastMs: 5000 },
  0x11: { why: 'Gateway and player are of different versions; reloading the page may help', leastMs: 5000 },
  0x12: { why: 'The gateway speaks another version of the protocol. Reload the page', state: 'failed', final: true },
  0x13: { why: 'A message was too large (a bug)', leastMs: 5000 },
  0x14: { why: 'The gateway found this player too talkative', leastMs: 5000 },
  0x20: { why: 'The broadcast is not there (any more)', state: 'waiting', leastMs: 2000 },
  0x21: { why: 'This connection was too slow for the broadcast', leastMs: 1000 },
  0x30: { why: 'This broadcast needs a link with a token that is valid', state: 'failed', final: true, code: 'unauthorized' },
  0x31: { why: 'This token does not open this broadcast', state: 'failed', final: true, code: 'forbidden' },
  0x32: { why: 'This link is not valid any more', state: 'failed', final: true, code: 'revoked' },
  0x33: { why: 'The operator ended this session', state: 'failed', final: true, code: 'kicked' },
  0x34: { why: 'The gateway is full', state: 'reconnecting', leastMs: LIMIT_MS, code: 'limit' },
};

/** @param {Partial<Verdict> & {why: string}} verdict @returns {Verdict} */
export function verdict({ why, state = 'reconnecting', leastMs = 0, final = false, code = '' }) {
  return { why, state, leastMs, final, code };
}

/**
 * What an answer of the gateway's pages means for who wants to watch; null: it is no refusal.
 * @param {number} status of HTTP @param {number} retryMs as the answer said; 0: it did not
 */
export function afterRefusal(status, retryMs) {
  /** @type {Record<number, number>} */ const codes = { 401: 0x30, 403: 0x31, 429: 0x34 };
  const known = CODES[codes[status] ?? -1];
  return known ? verdict({ ...known, leastMs: Math.max(known.leastMs ?? 0, retryMs) }) : null;
}

/** @param {import('./session.js').End} end @param {Record<string, any> | null} goodbye message */
export function afterEnd({ code, reason, clean }, goodbye) {
  if (!clean && code === 0) return verdict({ why: `The connection to the gateway was lost${reason ? ` (${reason})` : ''}` });
  const known = CODES[code] ?? { why: `The gateway closed the session with code ${code}` };
  const said = known.code ? '' : goodbye?.reason || reason; // a refusal has words of its own, and no others
  const news = said && !known.why.toLowerCase().includes(said.toLowerCase());
  const why = news ? `${known.why} (${said})` : known.why;
  const pause = goodbye?.retry_after_ms ?? 0;
  if (pause < 0) return verdict({ ...known, why, state: 'failed', final: true });
  return verdict({ ...known, why, leastMs: Math.max(known.leastMs ?? 0, pause) });
}

/**
 * @param {string} broadcast @param {string[] | null} names of the gateway's broadcasts; null: its pages do not answer either
 * @param {string} error the browser's words
 */
export function afterFailedConnect(broadcast, names, error) {
  if (names === null) return verdict({ why: 'The gateway does not answer' });
  if (!names.includes(broadcast)) {
    return verdict({ why: `There is no broadcast “${broadcast}” on this gateway (yet)`, state: 'waiting', leastMs: 1500 });
  }
  return verdict({
    why: `The gateway’s pages answer, but its media port does not: is UDP blocked on the way? (${error})`,
  });
}

/**
 * A broadcast's state as the player's: null when it is live.
 * @param {Record<string, any>} said a `state` message
 */
export function broadcastWords({ state = '', reason = '', retry_in_ms: retryInMs = 0 }) {
  const because = reason ? `: ${reason}` : '';
  const soon = retryInMs > 0 ? `; trying again in ${Math.ceil(retryInMs / 1000)} s` : '';
  switch (state) {
    case 'retrying': return `The source is away${because}${soon}.`;
    case 'ended': return `The broadcast has ended${because}.`;
    case 'connecting': return 'The source is being opened…';
    case 'idle': return 'The source is being started…';
    default: return null;
  }
}

/** @type {Record<string, string>} */
const CODEC_NAMES = { avc1: 'H.264', avc3: 'H.264', hvc1: 'HEVC', hev1: 'HEVC', av01: 'AV1', vp09: 'VP9', vp8: 'VP8' };

/** @param {string[]} codecs codec strings, none of which can be decoded */
export function undecodable(codecs) {
  const names = [...new Set(codecs.map((codec) => CODEC_NAMES[codec.split('.')[0] ?? ''] ?? codec))];
  return `This browser cannot decode ${names.join(' or ')}, which is all that this broadcast offers. Another browser or a graphics card with a decoder may; so may the setting “codec: h264” of the gateway`;
}
