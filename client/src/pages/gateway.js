/** Asks the gateway for its broadcasts again and again, for as long as the page is looked at. */

import { gatewayUrl } from './dom.js';

const PERIOD_MS = 2000;
const TIMEOUT_MS = 5000;

/** @typedef {import('./words.js').Summary} Summary */

/**
 * @param {(broadcasts: Summary[] | null) => void} tell called with every answer; null: none came
 * @param {() => boolean} [wanted] asked before each round; false skips it
 * @returns {() => void} asks at once
 */
export function pollBroadcasts(tell, wanted = () => true) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
  let asking = false;

  async function round() {
    clearTimeout(timer);
    if (asking) return;
    asking = true;
    if (document.visibilityState === 'visible' && wanted()) tell(await ask());
    asking = false;
    timer = setTimeout(round, PERIOD_MS);
  }

  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && round());
  timer = setTimeout(round, PERIOD_MS);
  return round;
}

/** @returns {Promise<Summary[] | null>} */
async function ask() {
  try {
    const answer = await fetch(`${gatewayUrl()}api/v1/broadcasts`, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // away, or not JSON: the next round asks again
  }
}
