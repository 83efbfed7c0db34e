/** Where the gateway is to be found, and in words why it was not. */

import { fetchJson, mergeHashes } from './transport.js';
import { afterFailedConnect, afterRefusal } from './words.js';

/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('../types.js').TransportInfo} TransportInfo */
/** @typedef {import('../types.js').CertificateHash} CertificateHash */

const BLIND_EVERY = 4; // failed fetches until the address at hand is tried: perhaps only the pages are down

export class Addresses {
  /** In a row. */ failures = 0;
  #asked = false; // for what the page fetched
  #refreshing = false;
  /** @type {TransportInfo | null} */ #known = null;
  /** @type {CertificateHash[]} */ #pushed = [];
  /** @type {(info: TransportInfo | null) => void} */ #give = () => {};
  /** What the page fetched. @type {Promise<TransportInfo | null>} */ first = new Promise((resolve) => { this.#give = resolve; });

  /** @param {TransportInfo | null} info that the page fetched */
  give(info) {
    this.#known ??= info;
    this.#give(info);
  }

  /** What the page fetched was used before anything else here ran: another attempt asks anew. */
  async early() {
    this.#asked = true;
    await this.first;
  }

  /** @param {CertificateHash[]} hashes pushed on the control stream */
  push(hashes) {
    this.#pushed = hashes;
  }

  /**
   * What is known without asking. With no hashes in the API the certificate is a CA's, and none may be passed.
   * @returns {TransportInfo | null}
   */
  get known() {
    const info = this.#known;
    return info && { ...info, certificateHashes: info.certificateHashes.length ? mergeHashes(info.certificateHashes, this.#pushed) : [] };
  }

  /**
   * Fetched anew each time, because a restart may have changed port and certificate.
   * @param {StartMessage} wish @returns {Promise<TransportInfo | null>}
   * @throws {import('./transport.js').HttpError} this viewer is not let in
   */
  async find(wish) {
    if (!this.#asked) {
      this.#asked = true;
      if (await this.first && (this.#known?.webSocketUrl || !needsSocket(wish))) return this.known;
    }
    if (!wish.canRefetch) return this.known;
    try {
      await this.#fetch(wish);
      this.failures = 0;
      return this.known;
    } catch (error) { // anything else is judged below
      if (refusal(error)) throw error;
    }
    this.failures++;
    return this.failures % BLIND_EVERY === 0 ? this.known : null;
  }

  /** @param {StartMessage} wish */
  async #fetch({ baseUrl, token }) {
    this.#known = await fetchJson(baseUrl, '/api/v1/transport', token);
  }

  /** Asks anew for whoever tries next; nobody waits for it, as the network may be away. @param {StartMessage | null} wish */
  async refresh(wish) {
    if (!wish?.canRefetch || this.#refreshing) return;
    this.#refreshing = true;
    await this.#fetch(wish).catch(() => {});
    this.#refreshing = false;
  }

  /**
   * Whether whoever was refused would be so on another way as well.
   * @param {StartMessage} wish @returns {Promise<false>} it would not, as far as can be told
   * @throws {import('./transport.js').HttpError} it would
   */
  async check({ baseUrl, broadcast, token, canRefetch }) {
    if (!canRefetch) return false;
    try {
      await fetchJson(baseUrl, askOf(broadcast), token);
    } catch (error) {
      if (statusOf(error) >= 400 && statusOf(error) < 500) throw error;
    }
    return false;
  }

  /** A browser does not tell a page why a CONNECT failed; the API does. @param {StartMessage} wish @param {string} error the browser's words */
  async explain({ baseUrl, broadcast, token }, error) {
    const [asked, listed] = await Promise.allSettled([
      fetchJson(baseUrl, askOf(broadcast), token), fetchJson(baseUrl, '/api/v1/broadcasts', token),
    ]);
    const refused = asked.status === 'rejected' ? refusal(asked.reason) : null;
    if (refused) return refused;
    return afterFailedConnect(broadcast, listed.status === 'fulfilled' ? namesOf(listed.value) : null, error);
  }
}

/** @param {StartMessage} wish */
const needsSocket = ({ transport }) => transport === 'websocket' || typeof WebTransport === 'undefined';

/** Answered as a request for a session would be. @param {string} broadcast */
const askOf = (broadcast) => `/api/v1/transport?${new URLSearchParams({ broadcast })}`;

/** @param {unknown} error @returns {number} of HTTP; 0: no answer came */
const statusOf = (error) => /** @type {Partial<import('./transport.js').HttpError> | undefined} */ (error)?.status ?? 0;

/** @param {any} list of /api/v1/broadcasts @returns {string[] | null} null: it is something else */
function namesOf(list) {
  const broadcasts = Array.isArray(list) ? list : list?.broadcasts;
  return Array.isArray(broadcasts) ? broadcasts.map(({ name }) => name) : null;
}

/** @param {unknown} error of fetchJson() @returns {import('./words.js').Verdict | null} null: it is no refusal */
export function refusal(error) {
  const { retryMs = 0 } = /** @type {Partial<import('./transport.js').HttpError>} */ (error ?? {});
  return afterRefusal(statusOf(error), retryMs);
}
