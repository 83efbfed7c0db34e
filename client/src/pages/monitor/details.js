/** Parts that the pages of one session and one broadcast share: facts, buttons. */

import { make, setText } from '../dom.js';
import { ApiError, request } from './api.js';

/** @param {[string, (value: any) => string][]} rows label and words; empty words hide a row */
export function facts(rows) {
  const entries = rows.map(([label, words]) => {
    const value = make('dd');
    return { words, value, row: make('div', {}, make('dt', {}, label), value) };
  });
  const element = make('dl', { class: 'facts' }, ...entries.map(({ row }) => row));
  /** @param {any} item */
  const show = (item) => entries.forEach(({ words, value, row }) => {
    const said = words(item);
    row.hidden = said === '';
    setText(value, said);
  });
  return { element, show };
}

const SURE_MS = 4000;

/**
 * Buttons that ask the gateway for something, and a line that says what came of it.
 * @param {{label: string, sure?: string, said: string, run: () => Promise<unknown>}[]} all `sure`: asked before, in place of the label
 */
export function actions(all) {
  const outcome = make('span', { class: 'outcome', role: 'status' });
  const buttons = all.map(({ label, sure, said, run }) => {
    const button = make('button', { type: 'button', class: sure ? 'button quiet danger' : 'button quiet' }, label);
    /** @type {ReturnType<typeof setTimeout> | undefined} */ let timer;
    const calm = () => {
      clearTimeout(timer);
      timer = undefined;
      setText(button, label);
    };
    button.addEventListener('click', async () => {
      if (sure && timer === undefined) {
        setText(button, sure);
        timer = setTimeout(calm, SURE_MS);
        return;
      }
      calm();
      button.disabled = true;
      try {
        await run();
        setText(outcome, said);
      } catch (error) {
        setText(outcome, error instanceof ApiError ? error.message : String(error));
      }
      button.disabled = false;
    });
    return button;
  });
  return make('div', { class: 'actions' }, ...buttons, outcome);
}

/** Saves what the API answers as a file, which a link could not ask for with a token. @param {string} path @param {string} name */
export async function download(path, name) {
  const answer = await request('GET', path);
  const url = URL.createObjectURL(await answer.blob());
  make('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
