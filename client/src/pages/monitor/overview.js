/** The gateway as a whole: figures with their last two minutes, broadcasts, sessions, and what happens. */

import { make, setText } from '../dom.js';
import * as format from '../format.js';
import { broadcastWords } from '../words.js';
import { get } from './api.js';
import { sparkline } from './chart.js';
import * as model from './model.js';
import { happenings } from './happenings.js';
import { Curves, linked, rateCell, SessionTable } from './sessions.js';
import { table, text } from './table.js';

/** @typedef {import('../words.js').Summary} Summary */
/** @typedef {{at: number, rateBps: number, sessions: number, rssBytes: number, cpuShare: number, loopLagUs: number}} Sample */

const MOST_SESSIONS = 500; // in the table; there may be more

/** One figure of the gateway. @param {string} label @param {(sample: Sample) => number} of @param {(value: number) => string} words @param {number} leastTop @param {string} hint */
function tile(label, of, words, leastTop, hint) {
  const value = make('b');
  const { svg, draw } = sparkline();
  const element = make('div', { class: 'tile', title: hint }, make('span', {}, label), value, svg);
  /** @param {Sample[]} history */
  const show = (history) => {
    const values = history.map(of);
    setText(value, values.length ? words(values[values.length - 1] ?? 0) : '–');
    draw(values, leastTop);
  };
  return { element, show };
}

const TILES = () => [
  tile('Viewers', (s) => s.sessions, format.formatCount, 4, 'sessions that are open'),
  tile('Sending', (s) => s.rateBps, format.formatBitrate, 1e6, 'frames to all viewers'),
  tile('Processor', (s) => s.cpuShare, model.formatCores, 1, 'of one core, all processes of the gateway'),
  tile('Memory', (s) => s.rssBytes, model.formatBytes, 1e8, 'resident, all processes of the gateway'),
  tile('Loop lag', (s) => s.loopLagUs, model.formatUs, 20_000, 'how late the slowest event loop was, at most'),
];

/** @param {Curves} curves @returns {import('./table.js').Column<Summary>[]} */
function broadcastColumns(curves) {
  /** @param {Summary} b */
  const picture = (b) => b.tracks.find((track) => track.kind === 'video')?.renditions[0];
  return [
    { label: 'Broadcast', key: (b) => b.name, cell: linked((/** @type {Summary} */ b) => ({
      href: model.placeHref('broadcast', b.name), words: b.name, state: b.state, detail: b.source,
    })) },
    { label: 'State', long: true, key: (b) => b.state, cell: text((b) => {
      const { state, detail } = broadcastWords(b);
      return detail ? `${state}, ${detail}` : state;
    }) },
    { label: 'Picture', long: true, cell: text((b) => {
      const first = picture(b);
      return first ? [format.formatSize(first.width, first.height), format.codecFamily(first.codec)].join(' · ') : '–';
    }) },
    { label: 'Viewers', number: true, key: (b) => b.viewers, cell: text((b) => format.formatCount(b.viewers)) },
    { label: 'Sending', number: true, key: (b) => curves.of(b.name).at(-1) ?? 0, cell: rateCell(curves, (b) => b.name) },
  ];
}

/** @returns {import('../monitor.js').View} */
export function overview() {
  const tiles = TILES();
  const sessions = new SessionTable();
  const curves = new Curves();
  const broadcasts = table('Broadcasts', broadcastColumns(curves), (b) => b.name, 'There is no broadcast.');
  const count = make('small');
  const events = happenings(() => true);
  const element = make('div', {},
    make('h1', {}, 'Monitor'),
    make('div', { class: 'tiles' }, ...tiles.map((each) => each.element)),
    make('section', {}, make('h2', {}, 'Broadcasts'), broadcasts.element),
    make('section', {}, make('h2', {}, 'Sessions ', count), sessions.element),
    events.element);

  async function update() {
    const [whole, names, all] = await Promise.all([get('overview'), get('broadcasts'), get(`sessions?limit=${MOST_SESSIONS}`)]);
    for (const each of tiles) each.show(whole.history);
    const rates = model.rateOfBroadcasts(all, sessions.show(all));
    curves.add(rates, names.map((/** @type {Summary} */ b) => b.name));
    broadcasts.show(names);
    setText(count, whole.sessions > all.length ? `the first ${all.length} of ${whole.sessions}` : '');
    const where = whole.node ? `${whole.node} · ` : '';
    return `${where}${whole.version} · up ${model.formatAge(whole.uptimeS)}${whole.draining ? ' · draining' : ''}`;
  }
  return { element, update, close: events.close, title: 'Monitor' };
}
