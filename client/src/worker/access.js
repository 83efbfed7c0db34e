/**
 * The token that lets this page in: given by the page, sent with every request, and replaced by another one before it is
 * over, without a new session (docs/protocol.md, "Access").
 */

/** @typedef {import('../types.js').StartMessage} StartMessage */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('./sinks.js').Post} Post */

const SOON_MS = 30_000; // before its end the gateway tells of it
const LEAST_MS = 1000;
const ANSWER_MS = 10_000; // for the page to get another one

export class Access {
  #asked = false; // since the gateway let this page in
  /** @type {StartMessage | null} */ #wish = null;
  /** @type {((news: boolean) => void) | null} */ #answer = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #post;
  #send;

  /** @param {Post} post @param {(message: Message) => void} send */
  constructor(post, send) {
    this.#post = post;
    this.#send = send;
  }

  /** @param {StartMessage} wish whose token it keeps up to date */
  start(wish) {
    this.stop();
    this.#wish = wish;
    this.#asked = false;
  }

  /** No session is open: nothing is to be renewed. */
  stop() {
    clearTimeout(this.#timer);
    this.#answer?.(false);
  }

  /** The page has another token. @param {string} token empty: none */
  give(token) {
    const wish = this.#wish;
    const news = wish !== null && token !== '' && token !== wish.token;
    if (news) wish.token = token;
    if (this.#answer) this.#answer(news);
    else if (news) this.#send({ kind: 'authenticate', token });
  }

  /** The gateway wants one that is valid. The page is asked once. @returns {Promise<boolean>} whether there is another one */
  async renewed() {
    if (this.#asked) return false;
    this.#asked = true;
    clearTimeout(this.#timer);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#answer?.(false), ANSWER_MS);
      this.#answer = (news) => {
        clearTimeout(timer);
        this.#answer = null;
        resolve(news);
      };
      this.#post({ type: 'tokenWanted' });
    });
  }

  /** The gateway said what the token allows, and for how long. @param {Message} message */
  told({ granted, expires_in_ms: expiresInMs, actions }) {
    this.#post({ type: 'access', access: { granted, expiresInMs, actions } });
    if (!granted) return; // the one before goes on for as long as it did
    this.#asked = false;
    clearTimeout(this.#timer);
    if (expiresInMs <= 0 || expiresInMs > SOON_MS) return; // it will say so again
    // Not at once: tokens that are short from the beginning would be asked for on and on.
    this.#timer = setTimeout(() => this.#post({ type: 'tokenWanted' }), Math.max(LEAST_MS, expiresInMs / 3));
  }
}
