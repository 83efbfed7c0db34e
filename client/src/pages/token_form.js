/** A small form to paste a token, or a link that has one. */

import { make } from './dom.js';

/** What was pasted: a token, or a whole link that has one. @param {string} text @returns {string} empty: there is none in it */
export function tokenIn(text) {
  const trimmed = text.trim();
  if (URL.canParse(trimmed)) return new URL(trimmed).searchParams.get('token') ?? '';
  return /\s/.test(trimmed) ? '' : trimmed;
}

/** @param {(token: string) => void} take called with a token @returns {HTMLFormElement} */
export function tokenForm(take) {
  const field = make('input', {
    id: 'token', name: 'token', type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', required: '',
    placeholder: 'Link or token', 'aria-describedby': 'token-hint',
  });
  const hint = make('span', { id: 'token-hint', class: 'hint', role: 'alert' });
  const form = make('form', { class: 'token' },
    make('label', { for: 'token' }, 'Link or token'), field, make('button', { class: 'button', type: 'submit' }, 'Open'), hint);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const token = tokenIn(field.value);
    hint.textContent = token ? '' : 'There is no token in this.';
    if (token) take(token);
  });
  return form;
}
