/** The menu of what can be watched: what the gateway chooses, each rendition, the sound alone. */

import { decodable } from '../media/abilities.js';
import { byId, make } from './dom.js';
import { codecFamily } from './format.js';
import { preference, SOUND_ONLY } from './preferences.js';
import { renditionNames } from './renditions.js';

/** @typedef {import('../player.js').Player} Player */
/** @typedef {import('../types.js').Rendition} Rendition */

const AUTO = 'auto';

export class Quality {
  #player;
  #broadcast;
  #label = byId('quality-label', HTMLElement);
  #select = byId('quality', HTMLSelectElement);
  /** @type {Map<number, string>} */ #names = new Map();
  #shown = ''; // what the options were made of
  #restored = false;

  /** @param {Player} player @param {string} broadcast */
  constructor(player, broadcast) {
    this.#player = player;
    this.#broadcast = broadcast;
    this.#select.addEventListener('change', () => this.#choose(this.#select.value));
    for (const type of ['catalog', 'rendition', 'abilities']) player.addEventListener(type, () => this.#show());
    this.#show();
  }

  /** Name of the rendition that is being sent; empty when it is not known. */
  get current() {
    return this.#names.get(this.#player.rendition) ?? '';
  }

  /** @param {string} value of an option */
  #choose(value) {
    const id = Number(value);
    const name = value === SOUND_ONLY ? SOUND_ONLY : (this.#names.get(id) ?? '');
    preference.setQuality(this.#broadcast, name);
    if (value !== SOUND_ONLY) this.#player.setRendition(this.#names.has(id) ? id : -1);
    this.#player.setPicture(value !== SOUND_ONLY);
  }

  /** What was chosen before the page was loaded again. */
  #restore() {
    this.#restored = true;
    const wanted = preference.quality(this.#broadcast);
    for (const [id, name] of this.#names) if (name === wanted) this.#player.setRendition(id);
  }

  #show() {
    const tracks = this.#player.catalog?.tracks ?? [];
    const renditions = tracks.find(({ kind }) => kind === 'video')?.renditions ?? [];
    const sound = tracks.some(({ kind }) => kind === 'audio');
    this.#names = renditionNames(renditions);
    if (renditions.length && !this.#restored) this.#restore();
    if (renditions.length && !sound) this.#player.setPicture(true); // there is nothing else
    this.#label.hidden = renditions.length === 0 || (renditions.length === 1 && !sound);
    this.#fill(renditions, sound);
    const { picture, wish } = this.#player;
    this.#select.value = !picture ? SOUND_ONLY : this.#names.has(wish) ? String(wish) : AUTO;
    this.#select.title = this.current ? `Quality: now ${this.current}` : 'Quality';
  }

  /** Options are made anew only when they change: an open menu would close. @param {Rendition[]} renditions @param {boolean} sound */
  #fill(renditions, sound) {
    const { abilities } = this.#player;
    const able = renditions.map((rendition) => !abilities || decodable(abilities, rendition));
    const shown = JSON.stringify([[...this.#names], able, sound]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#select.replaceChildren(
      make('option', { value: AUTO }, 'Auto'),
      ...renditions.map((rendition, i) => this.#option(rendition, able[i] ?? true)),
      ...(sound ? [make('option', { value: SOUND_ONLY }, 'Sound only')] : []),
    );
  }

  /** @param {Rendition} rendition @param {boolean} able */
  #option({ id, codec, width, height, fps }, able) {
    const name = this.#names.get(id) ?? '';
    if (able) return make('option', { value: String(id) }, name);
    const title = `This browser does not decode ${codecFamily(codec)} of this kind (${codec}, ${width} × ${height}, ${fps} fps)`;
    return make('option', { value: String(id), disabled: '', title }, name);
  }
}
