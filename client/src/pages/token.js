/**
 * The token that came with a link. It leaves the address bar at once, so that it is not copied, shared or kept in the
 * history by accident, and stays in this tab only. Works without storage too. Imports nothing.
 */

/** @typedef {Pick<Storage, 'getItem' | 'setItem'>} Kept */

const KEY = 'wtgateway.token';

/** @returns {Kept | null} where it is kept for reloads of this tab; null where a page may keep nothing */
function usual() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** Without storage it is remembered here until the page goes. */
let remembered = '';

/** @param {string} token @param {Kept | null} [kept] */
export function keepToken(token, kept = usual()) {
  remembered = token;
  try {
    kept?.setItem(KEY, token);
  } catch { // full, or turned off
  }
}

/** What was kept last; empty: nothing. @param {Kept | null} [kept] */
export function knownToken(kept = usual()) {
  if (remembered) return remembered;
  try {
    return kept?.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

/**
 * The token of this page: that of its address, which is taken out of there, or the one kept before.
 * @param {Pick<Location, 'href'>} [place] @param {Pick<History, 'state' | 'replaceState'>} [past] @param {Kept | null} [kept]
 */
export function takeToken(place = location, past = history, kept = usual()) {
  const url = new URL(place.href);
  const token = url.searchParams.get('token');
  if (token === null) return knownToken(kept);
  url.searchParams.delete('token');
  past.replaceState(past.state, '', url.href);
  if (!token) return knownToken(kept);
  keepToken(token, kept);
  return token;
}

/** @param {string} [token] @returns {{authorization: string} | undefined} headers of a request to the gateway */
export function authorization(token = knownToken()) {
  return token ? { authorization: `Bearer ${token}` } : undefined;
}
