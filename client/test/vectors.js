/** Reads the golden vectors that the gateway's tests read too (tests/vectors). */

import { readFileSync } from 'node:fs';

/** @param {string} name @returns {any[]} */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../../tests/vectors/${name}.json`, import.meta.url), 'utf8'));
}

/** @param {string} text */
export const fromHex = (text) => new Uint8Array(Buffer.from(text, 'hex'));

/** Bytes written {"$hex": ...} become Uint8Array. @param {any} value @returns {any} */
export function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$hex === 'string') return fromHex(value.$hex);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, revive(item)]));
}
