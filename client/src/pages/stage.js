/** Messages over the picture. */

import { make } from './dom.js';

/** @typedef {import('./words.js').Action} Action */
/** @typedef {import('./words.js').Words} Words */

/** Said by the page itself while it loads, and not shown for a moment: most often a picture comes first. */
const FIRST_TITLE = 'Connecting';

/** @type {Record<Action, string>} */
const LABELS = { retry: 'Try again', resume: 'Go on live', list: 'All broadcasts', reload: 'Reload the page' };

export class Stage {
  #element;
  #act;
  #key = '';
  #title = make('h2');
  #detail = make('p');

  /** @param {HTMLElement} element @param {(action: Action) => void} act */
  constructor(element, act) {
    this.#element = element;
    this.#act = act;
  }

  /** @param {Words | null} words null: nothing is said */
  say(words) {
    this.#element.hidden = words === null;
    if (words?.title !== FIRST_TITLE) this.#element.setAttribute('data-said', '');
    if (!words) {
      this.#key = '';
      return;
    }
    // Only what changes is touched: buttons keep focus, and screen readers are not told every second.
    const key = `${words.busy} ${words.actions.join(' ')}`;
    if (key !== this.#key) {
      this.#key = key;
      this.#element.replaceChildren(
        ...(words.busy ? [make('div', { class: 'spinner', 'aria-hidden': 'true' })] : []),
        this.#title, this.#detail,
        ...(words.actions.length ? [this.#actions(words.actions)] : []),
      );
    }
    if (this.#title.textContent !== words.title) this.#title.textContent = words.title;
    if (this.#detail.textContent !== words.detail) this.#detail.textContent = words.detail;
  }

  /** What this browser or page lacks. @param {import('../support.js').Missing[]} missing */
  sayMissing(missing) {
    const items = missing.map(({ what, why, todo }) => make('li', {},
      make('b', {}, what), make('span', {}, `${why.charAt(0).toUpperCase()}${why.slice(1)}.`), make('span', {}, todo)));
    this.#element.hidden = false;
    this.#element.setAttribute('data-said', '');
    this.#element.replaceChildren(
      make('h2', {}, 'This broadcast cannot be played here'),
      make('p', {}, missing.length > 1 ? 'This is missing:' : 'One thing is missing:'),
      make('ul', {}, ...items),
      this.#actions(['list', 'reload']),
    );
  }

  /** @param {Action[]} actions */
  #actions(actions) {
    return make('div', { class: 'actions' }, ...actions.map((action) => {
      const plain = action === 'list' ? 'button plain' : 'button';
      const button = make('button', { class: plain, type: 'button' }, LABELS[action]);
      button.addEventListener('click', () => this.#act(action));
      return button;
    }));
  }
}
