/** Asks the gateway for its broadcasts again and again, for as long as the page is looked at. */

import { gatewayUrl } from './dom.js';
import { authorization } from './token.js';

const PERIOD_MS = 2000;
const TIMEOUT_MS = 5000;

/** @typedef {import('./words.js').Summary} Summary */
/** `broadcasts` null: there is no list; `status` of HTTP, 0: no answer came. @typedef {{broadcasts: Summary[] | null, status: number}} Answer */

/**
 * @param {(answer: Answer) => void} tell called with every answer
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

/** @returns {Promise<Answer>} */
async function ask() {
  try {
    const answer = await fetch(`${gatewayUrl()}api/v1/broadcasts`, {
      cache: 'no-store', headers: authorization(), signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return { broadcasts: answer.ok ? await answer.json() : null, status: answer.status };
  } catch {
    return { broadcasts: null, status: 0 }; // away, or not JSON: the next round asks again
  }
}
