/**
 * The sound as the engine knows it. Its path (decoders, playout, ring) is a script of its own, fetched with the first
 * packet: nobody hears anything before the page has made its output, and that takes longer.
 */

/** @typedef {import('../types.js').Frame} Frame */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {import('./audio.js').AudioPath} AudioPath */
/** @typedef {import('./timeline.js').Timeline} Timeline */
/** @typedef {import('./sinks.js').Post} Post */

const MAX_EARLY = 100; // packets, two seconds; the oldest give way
const AGAIN_MS = 2000;

/**
 * Browsers remember what could not be fetched; under another name it can be tried again.
 * @param {number} failures @returns {Promise<typeof import('./audio.js')>}
 */
const fetchPath = (failures) => import(new URL(`./audio.js${failures ? `?${failures}` : ''}`, import.meta.url).href);

export class Sound {
  /** @type {AudioPath | null} null: not here yet */ path = null;
  measures = false; // whether someone looks at the levels
  /** Told of each packet that can be decoded. */ onDelivered = () => {};
  running = false; // whether the AudioContext takes samples
  outputUs = 0; // from the worklet to the ear
  /** @type {Rendition[]} */ renditions = [];
  /** @type {Frame[]} */ #early = [];
  #loading = false;
  #failures = 0;

  /** @param {Timeline} timeline @param {Post} post @param {typeof fetchPath} [fetch] */
  constructor(timeline, post, fetch = fetchPath) {
    this.timeline = timeline;
    this.post = post;
    this.fetch = fetch;
  }

  /** A frame from the wire. @param {Frame} frame */
  push(frame) {
    if (this.path) return this.path.push(frame);
    this.#early.push(frame);
    if (this.#early.length > MAX_EARLY) this.#early.shift();
    if (!this.#loading) this.#load();
  }

  async #load() {
    this.#loading = true;
    try {
      const { AudioPath } = await this.fetch(this.#failures);
      const path = this.path = new AudioPath(this);
      for (const frame of this.#early.splice(0)) path.push(frame);
    } catch {
      this.#failures++;
      setTimeout(() => { this.#loading = false; }, AGAIN_MS);
    }
  }

  /** @param {Rendition[]} renditions how to decode each */
  configure(renditions) {
    this.renditions = renditions;
    this.path?.configure(renditions);
  }

  /** @param {boolean} running @param {number} outputUs */
  setOutput(running, outputUs) {
    this.running = running;
    this.outputUs = outputUs;
    this.path?.setOutput(running, outputUs);
  }

  /** @param {boolean} [goesOn] whether what is heard goes on with what comes */
  newSession(goesOn = false) {
    this.#early = [];
    this.renditions = [];
    this.path?.newSession(goesOn);
  }
}
