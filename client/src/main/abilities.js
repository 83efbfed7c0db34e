/**
 * Remembers what this browser has proven to decode, so that the next visit can say so when it
 * connects. Another version of the browser, or of the proof, is asked anew. Page side only.
 */

import { isAbilities } from '../media/abilities.js';

/** @typedef {{codecs: string, stale: boolean}} Known `stale`: to be proven again when there is time */

const KEY = 'wtgateway.abilities';
const PROOF = 2; // to be counted up when more is proven, or otherwise
const DAY_MS = 24 * 3600e3;
const EXPIRES_MS = 7 * DAY_MS;

/** Where it is kept; null where a page may keep nothing. @returns {Storage | null} */
function usual() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/**
 * @param {Pick<Storage, 'getItem'> | null} [storage] @param {string} [browser] @param {number} [nowMs]
 * @returns {Known} `codecs` is empty when nothing is known
 */
export function knownAbilities(storage = usual(), browser = navigator.userAgent, nowMs = Date.now()) {
  try {
    const kept = JSON.parse(storage?.getItem(KEY) ?? '{}');
    const age = nowMs - kept.atMs;
    if (kept.proof === PROOF && kept.browser === browser && age >= 0 && age < EXPIRES_MS && isAbilities(kept.codecs)) {
      return { codecs: kept.codecs, stale: age > DAY_MS };
    }
  } catch { // not ours, or not to be read
  }
  return { codecs: '', stale: true };
}

/**
 * @param {string} codecs
 * @param {Pick<Storage, 'setItem'> | null} [storage] @param {string} [browser] @param {number} [nowMs]
 */
export function keepAbilities(codecs, storage = usual(), browser = navigator.userAgent, nowMs = Date.now()) {
  try {
    storage?.setItem(KEY, JSON.stringify({ proof: PROOF, browser, codecs, atMs: nowMs }));
  } catch { // full, or turned off: proven again at the next visit
  }
}
