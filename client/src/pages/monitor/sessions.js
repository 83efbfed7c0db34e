/** Sessions in a table, each with the curve of its rate; shared by the pages that show some. */

import { make, setText } from '../dom.js';
import * as format from '../format.js';
import { Series } from '../series.js';
import { SAMPLES, sparkline } from './chart.js';
import * as model from './model.js';
import { table, text } from './table.js';

/** @typedef {import('./model.js').Session} Session */

/** A link, with a dot before it that tells the state. @param {(item: any) => {href: string, words: string, state: string, detail: string}} of */
export const linked = (of) => () => {
  const dot = make('span', { class: 'dot', 'aria-hidden': 'true' });
  const link = make('a', { class: 'name' });
  const detail = make('small');
  const element = make('span', { class: 'linked' }, dot, link, detail);
  return {
    element,
    /** @param {any} item */
    update: (item) => {
      const { href, words, state, detail: more } = of(item);
      if (link.getAttribute('href') !== href) link.setAttribute('href', href);
      element.dataset.state = state;
      setText(link, words);
      setText(detail, more);
    },
  };
};

/** Curves of rates, by what they are of. */
export class Curves {
  /** @type {Map<string, Series>} */ #series = new Map();

  /** @param {Map<string, number>} rates @param {Iterable<string>} alive */
  add(rates, alive) {
    const kept = new Set(alive);
    for (const name of [...this.#series.keys()]) if (!kept.has(name)) this.#series.delete(name);
    for (const name of kept) {
      const series = this.#series.get(name) ?? new Series(SAMPLES);
      series.push(rates.get(name) ?? 0);
      this.#series.set(name, series);
    }
  }

  /** @param {string} name @returns {readonly number[]} */
  of(name) {
    return this.#series.get(name)?.values ?? [];
  }
}

/** A rate and its curve. @param {Curves} curves @param {(item: any) => string} keyOf */
export const rateCell = (curves, keyOf) => () => {
  const value = make('span');
  const { svg, draw } = sparkline();
  return {
    element: make('span', { class: 'rate' }, svg, value),
    /** @param {any} item */
    update: (item) => {
      const values = curves.of(keyOf(item));
      draw(values, 100_000);
      setText(value, values.length ? format.formatBitrate(values[values.length - 1]) : '–');
    },
  };
};

/** @param {Curves} curves @returns {import('./table.js').Column<Session>[]} */
function sessionColumns(curves) {
  return [
    { label: 'Session', key: (s) => s.identity || s.client || s.id, cell: linked((/** @type {Session} */ s) => ({
      href: model.placeHref('session', s.id), words: s.identity || s.id, state: 'live', detail: s.client,
    })) },
    { label: 'Broadcast', key: (s) => s.broadcast, cell: text((s) => s.broadcast) },
    { label: 'Since', number: true, key: (s) => s.ageS, cell: text((s) => model.formatAge(s.ageS)) },
    { label: 'Rate', number: true, key: (s) => curves.of(s.id).at(-1) ?? 0, cell: rateCell(curves, (s) => s.id) },
    { label: 'Round trip', number: true, key: (s) => s.rttUs, cell: text((s) => model.formatUs(s.rttUs || NaN)) },
    { label: 'Loss', number: true, key: (s) => s.loss, cell: text((s) => model.formatLoss(s.loss), 'of packets, in the last seconds') },
    { label: 'Dropped', number: true, key: (s) => s.framesDropped, cell: text((s) => format.formatCount(s.framesDropped), 'frames that were not worth sending any more') },
    { label: 'Delay', number: true, key: (s) => model.totalMs(s.latencyMs), cell: text((s) => format.formatMs(model.totalMs(s.latencyMs) || NaN), 'from capture to paint, as the viewer tells') },
    { label: 'Over', key: (s) => s.transport ?? '', cell: text((s) => model.formatTransport(s.transport)) },
  ];
}

export class SessionTable {
  curves = new Curves();
  #rates = new model.Rates();
  #table = table('Sessions', sessionColumns(this.curves), (session) => session.id, 'Nobody is watching now.');
  element = this.#table.element;

  /** @param {Session[]} sessions @returns {Map<string, number>} rates by session */
  show(sessions) {
    const rates = this.#rates.update(sessions, performance.now());
    this.curves.add(rates, sessions.map(({ id }) => id));
    this.#table.show(sessions);
    return rates;
  }
}
