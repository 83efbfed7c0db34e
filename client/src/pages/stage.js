/** Messages over the picture. */

import { make } from './dom.js';

/** @typedef {import('./words.js').Action} Action */
/** @typedef {import('./words.js').Words} Words */

/** @returns {Promise<typeof import('./token_form.js')>} not joined to this script: most gateways need none */
const loadForm = () => import(new URL('./token_form.js', import.meta.url).href);

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

  #token;

  /** @param {HTMLElement} element @param {(action: Action) => void} act @param {(token: string) => void} [token] one was given */
  constructor(element, act, token = () => {}) {
    this.#element = element;
    this.#act = act;
    this.#token = token;
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
    const key = `${words.busy} ${words.form} ${words.actions.join(' ')}`;
    if (key !== this.#key) {
      this.#key = key;
      this.#element.replaceChildren(
        ...(words.busy ? [make('div', { class: 'spinner', 'aria-hidden': 'true' })] : []),
        this.#title, this.#detail,
        ...(words.actions.length ? [this.#actions(words.actions)] : []),
      );
      if (words.form) this.#addForm(key).catch(() => {}); // the words do without
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

  /** @param {string} key of what is said */
  async #addForm(key) {
    const { tokenForm } = await loadForm();
    if (key === this.#key) this.#detail.after(tokenForm(this.#token)); // else something else is said by now
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
