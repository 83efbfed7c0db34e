/** Levels of the sound, in place of a picture: one bar for each channel, from -60 dB to full scale. */

import { make, setText } from './dom.js';

/** @typedef {import('../player.js').Player} Player */

const FLOOR_DB = -60;
const FALL_PER_S = 0.6; // of the whole bar
const MOST_CHANNELS = 8;

/** @param {number} level root mean square, full scale is 1 @returns {number} share of the bar, 0..1 */
export function barShare(level) {
  return level > 0 ? Math.min(1, Math.max(0, 1 - (20 * Math.log10(level)) / FLOOR_DB)) : 0;
}

export class Meters {
  #player;
  #element;
  #bars = make('div', { class: 'bars', 'aria-hidden': 'true' });
  #words = make('p');
  /** @type {number[]} */ #targets = [];
  /** @type {number[]} */ #shares = [];
  #on = false;
  #drawnMs = 0;

  /** @param {HTMLElement} element @param {Player} player */
  constructor(element, player) {
    this.#element = element;
    this.#player = player;
    element.append(this.#bars, make('h2', {}, 'Sound only'), this.#words);
    player.addEventListener('levels', (event) => event instanceof CustomEvent && this.#take(event.detail.levels));
  }

  /** @param {boolean} on @param {string} words why there is no picture */
  show(on, words) {
    setText(this.#words, words);
    if (on === this.#on) return;
    this.#on = on;
    this.#element.hidden = !on;
    this.#player.measureLevels(on);
    this.#targets = [];
    if (on) requestAnimationFrame((nowMs) => this.#draw(nowMs));
  }

  /** @param {number[]} levels */
  #take(levels) {
    this.#targets = levels.slice(0, MOST_CHANNELS).map(barShare);
    if (this.#bars.children.length === this.#targets.length) return;
    this.#bars.replaceChildren(...this.#targets.map(() => make('div', {}, make('i'))));
    this.#shares = [];
  }

  /** A bar rises at once and falls slowly, as the eye wants it. @param {number} nowMs */
  #draw(nowMs) {
    if (!this.#on) return;
    const fall = (Math.min(100, nowMs - this.#drawnMs) / 1000) * FALL_PER_S;
    this.#drawnMs = nowMs;
    this.#shares = this.#targets.map((target, i) => Math.max(target, (this.#shares[i] ?? 0) - fall));
    this.#shares.forEach((share, i) => {
      const bar = this.#bars.children[i]?.firstElementChild;
      if (bar instanceof HTMLElement) bar.style.clipPath = `inset(0 ${((1 - share) * 100).toFixed(1)}% 0 0)`;
    });
    requestAnimationFrame((later) => this.#draw(later));
  }
}
