/** Tables whose rows change in place: focus, reading position and open menus stay. */

import { make, setText } from '../dom.js';
import { sorted } from './model.js';

/**
 * @template T
 * @typedef {object} Column
 * @property {string} label
 * @property {(item: T) => string | number} [key] by which it may be sorted
 * @property {boolean} [number] right-aligned; sorted falling at first
 * @property {boolean} [long] on a phone a line of its own
 * @property {() => {element: Node, update: (item: T) => void}} cell
 */

/** A cell of text. @template T @param {(item: T) => string} words @param {string} [title] @returns {() => {element: HTMLElement, update: (item: T) => void}} */
export function text(words, title = '') {
  return () => {
    const element = make('span', title ? { title } : {});
    return { element, update: (item) => setText(element, words(item)) };
  };
}

/**
 * @template T
 * @param {string} label what the table shows, for screen readers
 * @param {Column<T>[]} columns @param {(item: T) => string} keyOf
 * @param {string} empty said where there is nothing
 */
export function table(label, columns, keyOf, empty) {
  /** @type {Map<string, {row: HTMLTableRowElement, update: (item: T) => void}>} */ const rows = new Map();
  const body = make('tbody');
  const none = make('p', { class: 'none' }, empty);
  /** @type {{column: Column<T>, falling: boolean} | null} */ let order = null;
  /** @type {readonly T[]} */ let shown = [];

  const heads = columns.map((column) => {
    const head = make('th', { scope: 'col', ...(column.number ? { class: 'number' } : {}) });
    if (!column.key) {
      head.append(column.label);
      return head;
    }
    const button = make('button', { type: 'button' }, column.label);
    button.addEventListener('click', () => {
      const falling = order?.column === column ? !order.falling : Boolean(column.number);
      order = { column, falling };
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', falling ? 'descending' : 'ascending');
      show(shown);
    });
    head.append(button);
    return head;
  });

  function newRow() {
    const cells = columns.map(({ cell }) => cell());
    const row = make('tr', {}, ...cells.map(({ element }, i) => make('td', {
      'data-label': columns[i]?.label ?? '', class: columns[i]?.number ? 'number' : columns[i]?.long ? 'long' : '',
    }, element)));
    return { row, update: (/** @type {T} */ item) => cells.forEach(({ update }) => update(item)) };
  }

  /** @param {readonly T[]} items */
  function show(items) {
    shown = items;
    const wanted = order?.column.key ? sorted(items, order.column.key, order.falling) : items;
    const keys = new Set(wanted.map(keyOf));
    for (const [key, { row }] of rows) {
      if (keys.has(key)) continue;
      row.remove();
      rows.delete(key);
    }
    wanted.forEach((item, i) => {
      const entry = rows.get(keyOf(item)) ?? newRow();
      rows.set(keyOf(item), entry);
      entry.update(item);
      if (body.children[i] !== entry.row) body.insertBefore(entry.row, body.children[i] ?? null);
    });
    none.hidden = items.length > 0;
    frame.hidden = items.length === 0;
  }

  const frame = make('div', { class: 'frame' }, make('table', { 'aria-label': label }, make('thead', {}, make('tr', {}, ...heads)), body));
  const element = make('div', {}, frame, none);
  return { element, show };
}
