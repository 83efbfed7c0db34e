/** The gateway's API as the monitor asks it. An answer is a value, or why there is none. */

import { gatewayUrl } from '../dom.js';
import { authorization } from '../token.js';

const TIMEOUT_MS = 5000;

/** No value: `status` of HTTP (0: no answer came), and the gateway's words. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }

  /** Whether a token may help. */
  get refused() {
    return this.status === 401 || this.status === 403;
  }
}

/**
 * @param {string} method @param {string} path below /api/v1/ @param {AbortSignal} [signal]
 * @returns {Promise<Response>} with a status of success @throws {ApiError}
 */
export async function request(method, path, signal = AbortSignal.timeout(TIMEOUT_MS)) {
  let answer;
  try {
    answer = await fetch(`${gatewayUrl()}api/v1/${path}`, {
      method, cache: 'no-store', signal, headers: { 'x-wtgateway': '1', ...authorization() },
    });
  } catch {
    throw new ApiError(0, 'The gateway does not answer.');
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: '' }));
  throw new ApiError(answer.status, error || `The gateway answered with ${answer.status}.`);
}

/** @param {string} path @returns {Promise<any>} @throws {ApiError} */
export async function get(path) {
  const answer = await request('GET', path);
  return answer.json().catch(() => { throw new ApiError(0, 'The gateway answered with something else than JSON.'); });
}

/** A path's part, which may have slashes. @param {string} name */
export function segment(name) {
  return name.split('/').map(encodeURIComponent).join('/');
}
