/**
 * Remembers for ten minutes that a gateway was reached by a WebSocket only, so that the next visit does not wait for
 * WebTransport first. Page side only; works without storage too.
 */

const KEEP_MS = 600_000;

/** Where it is kept; null where a page may keep nothing. @returns {Storage | null} */
function usual() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/** @param {string} baseUrl of the gateway */
const keyOf = (baseUrl) => `wtgateway.websocket.${new URL(baseUrl).origin}`;

/**
 * Whether a WebSocket was what worked a short while ago.
 * @param {string} baseUrl @param {Pick<Storage, 'getItem'> | null} [storage] @param {number} [nowMs]
 */
export function socketWon(baseUrl, storage = usual(), nowMs = Date.now()) {
  try {
    const age = nowMs - Number(storage?.getItem(keyOf(baseUrl)) ?? NaN);
    return age >= 0 && age < KEEP_MS;
  } catch { // not to be read
    return false;
  }
}

/**
 * @param {string} baseUrl @param {boolean} won false: WebTransport works
 * @param {Pick<Storage, 'setItem' | 'removeItem'> | null} [storage] @param {number} [nowMs]
 */
export function rememberSocket(baseUrl, won, storage = usual(), nowMs = Date.now()) {
  try {
    if (won) storage?.setItem(keyOf(baseUrl), String(nowMs));
    else storage?.removeItem(keyOf(baseUrl));
  } catch { // full, or turned off: found out again at the next visit
  }
}
