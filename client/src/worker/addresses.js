/** Where the gateway is to be found, and in words why it was not. */

import { fetchJson, mergeHashes } from './transport.js';
import { afterFailedConnect } from './words.js';

/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('../types.js').TransportInfo} TransportInfo */
/** @typedef {import('../types.js').CertificateHash} CertificateHash */

const BLIND_EVERY = 4; // failed fetches until the address at hand is tried: perhaps only the pages are down

export class Addresses {
  /** In a row. */ failures = 0;
  #asked = false; // for what the page fetched
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

  /** Fetched anew each time, because a restart may have changed port and certificate. @param {StartMessage} wish */
  async find(wish) {
    if (!this.#asked) {
      this.#asked = true;
      if (await this.first) return this.known;
    } else if (wish.canRefetch) {
      try {
        this.#known = await fetchJson(wish.baseUrl, '/api/v1/transport');
        this.failures = 0;
        return this.known;
      } catch { // judged below
      }
    } else {
      return this.known;
    }
    this.failures++;
    return this.failures % BLIND_EVERY === 0 ? this.known : null;
  }

  /** A browser does not tell a page why a CONNECT failed; the API does. @param {StartMessage} wish @param {string} error the browser's words */
  async explain(wish, error) {
    /** @type {string[] | null} */ let names = null;
    try {
      const list = await fetchJson(wish.baseUrl, '/api/v1/broadcasts');
      names = (Array.isArray(list) ? list : list.broadcasts).map((/** @type {{name: string}} */ b) => b.name);
    } catch { // its pages do not answer either
    }
    return afterFailedConnect(wish.broadcast, names, error);
  }
}
