/**
 * What is watched: which rendition the gateway sends, which one the page wished for, and what this
 * browser can decode. The proof of that is a script of its own, fetched when the first picture is
 * there, or at once where nothing comes without it.
 */

import { decodable } from '../media/abilities.js';
import { undecodable } from './words.js';

/** @typedef {import('../types.js').Catalog} Catalog */
/** @typedef {import('../types.js').Rendition} Rendition */
/** @typedef {import('../types.js').Delivery} Delivery */
/** @typedef {import('../media/messages.js').Message} Message */
/** @typedef {import('./sinks.js').Post} Post */
/** @typedef {{post: Post, send: (message: Message) => void, giveUp: (why: string) => void}} Outside */

/** @returns {Promise<typeof import('./abilities.js')>} not joined to this script: most visits do not need it */
const loadProof = () => import(new URL('./abilities.js', import.meta.url).href);

const GATEWAY_DEADLINE_MS = 500; // where none is wished for

export class Viewing {
  /** @type {Catalog | null} */ catalog = null;
  /** As far as they are known. */ codecs = '';
  /** Whether the page wants to see anything. */ picture = true;
  #wish = -1;
  #current = -1;
  #prove = true;
  #proven = false;
  #proving = false;
  #wished = -1; // what this session was told
  #told = { on: true, message: '' };
  /** @type {Delivery} wished for */ delivery = 'auto';
  deadlineMs = 0;
  /** @type {Delivery} */ #asked = 'auto';
  /** @type {Delivery | ''} as the gateway told last */ #delivered = '';
  /** @type {Outside} */ #outside;
  /** @type {() => Promise<string>} */ #proof;

  /** @param {Outside} outside @param {() => Promise<string>} [proof] of abilities, for tests */
  constructor(outside, proof = async () => (await loadProof()).prove()) {
    this.#outside = outside;
    this.#proof = proof;
  }

  /** @param {{codecs: string, prove: boolean, picture: boolean, delivery?: Delivery, deadlineMs?: number}} start */
  start({ codecs, prove, picture, delivery = 'auto', deadlineMs = 0 }) {
    this.delivery = delivery;
    this.deadlineMs = deadlineMs;
    this.codecs ||= codecs;
    this.#prove = prove && !this.#proven;
    this.picture = picture;
    if (!this.catalog) this.#told.on = picture; // as the page takes it until there is a catalog
  }

  newSession() {
    this.catalog = null;
    this.#asked = this.delivery;
    this.#delivered = '';
    this.#current = this.#wished = -1;
  }

  /** What a CONNECT says of it. */
  get wishes() {
    const { codecs, picture, delivery, deadlineMs } = this;
    return { codecs, picture, delivery, deadlineMs };
  }

  /** Another session goes on in place of this one: what is wished for is said again. */
  followed() {
    this.#wished = -1;
    this.#asked = this.delivery;
  }

  /** @param {string} kind */
  #track(kind) {
    return this.catalog?.tracks.find((track) => track.kind === kind);
  }

  /** @returns {Rendition[]} of the picture, in the gateway's order */
  get renditions() {
    return this.#track('video')?.renditions ?? [];
  }

  /** @param {number} id @returns {Rendition | undefined} of the picture */
  rendition(id) {
    return this.renditions.find((rendition) => rendition.id === id);
  }

  /** What the gateway sends of the picture, if it has told. */
  get current() {
    return this.rendition(this.#current);
  }

  /** What PlayerStats tell of it. @param {number} durationUs of a frame, where the catalog does not tell */
  stats(durationUs) {
    const { id = -1, forwarded = false, reorder_frames: reorderFrames = 0, fps = 0 } = this.current ?? {};
    const frameMs = fps > 0 ? 1000 / fps : durationUs / 1000;
    return { delivery: this.delivered, rendition: id, forwarded, reorderFrames, reorderMs: Math.round(reorderFrames * frameMs * 10) / 10 };
  }

  /** How frames travel, as the gateway told last; before, as wished for. */
  get delivered() {
    return this.#delivered || this.delivery;
  }

  /** There are no datagrams here, or nobody to read them: from now on, and in later sessions. */
  useStreams() {
    this.delivery = 'stream';
    this.#askDelivery();
  }

  /** How long after its capture a frame is worth having. */
  get deadlineUs() {
    return (this.deadlineMs || GATEWAY_DEADLINE_MS) * 1000;
  }

  #askDelivery() {
    if (!this.catalog || this.#asked === this.delivery) return;
    if (this.picture) this.#subscribe();
    const track = this.#track('audio');
    if (track) this.#outside.send({ kind: 'subscribe', track: track.id, rendition: -1, ...this.#how });
    this.#asked = this.delivery;
  }

  get #how() {
    return { delivery: this.delivery, deadline_ms: this.deadlineMs };
  }

  /** Whether a picture is to come. */
  get expectsPicture() {
    return this.#told.on;
  }

  /** @param {Catalog} catalog */
  setCatalog(catalog) {
    this.catalog = catalog;
    if (this.picture && this.#wish !== this.#wished && this.rendition(this.#wish)) this.#subscribe();
    this.#askDelivery();
    this.#judge();
  }

  /** @param {Message} message what the gateway sends from now on */
  subscribed({ track, rendition, delivery }) {
    this.#delivered = delivery;
    if (track !== this.#track('video')?.id) return;
    this.#current = rendition;
    this.#outside.post({ type: 'rendition', id: rendition });
  }

  /** @param {number} id -1: the gateway chooses */
  wish(id) {
    this.#wish = id;
    if (this.picture && this.catalog) this.#subscribe();
  }

  /** @param {boolean} on whether a picture is wanted at all */
  setPicture(on) {
    this.picture = on;
    const track = this.#track('video');
    if (!track) return;
    if (on) this.#subscribe();
    else {
      this.#outside.send({ kind: 'unsubscribe', track: track.id });
      this.#outside.post({ type: 'rendition', id: this.#current = -1 });
    }
    this.#judge();
  }

  #subscribe() {
    const track = this.#track('video');
    if (!track) return;
    this.#wished = this.rendition(this.#wish) ? this.#wish : -1;
    this.#outside.send({ kind: 'subscribe', track: track.id, rendition: this.#wished, ...this.#how });
  }

  /** The first picture is there: now there is time. */
  pictureShown() {
    if (this.#prove) this.#proveNow();
  }

  /** The decoder failed: perhaps this browser lacks what every browser is thought to have. */
  failed() {
    if (!this.#proven) this.#proveNow();
  }

  async #proveNow() {
    if (this.#proving) return;
    this.#proving = true;
    this.#prove = false;
    try {
      this.codecs = await this.#proof();
      this.#proven = true;
      this.#outside.post({ type: 'abilities', codecs: this.codecs });
      this.#outside.send({ kind: 'abilities', codecs: this.codecs });
    } catch { // its script could not be fetched; the next session tries again if it must
    }
    this.#proving = false;
    if (this.#proven) this.#judge();
  }

  /** Says whether a picture will come, and gives up where neither picture nor sound can. */
  #judge() {
    if (!this.catalog?.tracks.length) return;
    const { renditions } = this;
    const can = renditions.some((rendition) => decodable(this.codecs, rendition));
    const cannot = this.picture && renditions.length > 0 && !can;
    if (cannot && !this.#proven) return void this.#proveNow();
    const why = cannot ? undecodable(renditions.map(({ codec }) => codec)) : '';
    if (cannot && !this.#track('audio')?.renditions.length) return this.#outside.giveUp(why);
    this.#tell(this.picture && !cannot && this.#track('video') !== undefined, why && `${why}. The sound goes on.`);
  }

  /** @param {boolean} on @param {string} message */
  #tell(on, message) {
    if (on === this.#told.on && message === this.#told.message) return;
    this.#told = { on, message };
    this.#outside.post({ type: 'picture', on, message });
  }
}
