/** One broadcast: what it is made of, what it costs, and who watches. */

import { gatewayUrl, make } from '../dom.js';
import * as format from '../format.js';
import { broadcastWords } from '../words.js';
import { get, request, segment } from './api.js';
import { chart } from './chart.js';
import { actions, facts } from './details.js';
import { happenings } from './happenings.js';
import * as model from './model.js';
import { SessionTable } from './sessions.js';

/** @typedef {{at: number, rateBps: number, sourceBps: number, viewers: number}} Sample */
/** @typedef {{rendition: number, bitrateBps: number, nominalBps: number, scale: number, fps: number, reason: string}} Target */

const MOST_SESSIONS = 200;

const CHARTS = () => [
  { of: (/** @type {Sample} */ s) => s.sourceBps, plot: chart('Made', format.formatBitrate, 1e6, 'all renditions that run, once') },
  { of: (/** @type {Sample} */ s) => s.rateBps, plot: chart('Sent', format.formatBitrate, 1e6, 'to all of its viewers') },
  { of: (/** @type {Sample} */ s) => s.viewers, plot: chart('Viewers', format.formatCount, 4) },
];

/** @param {import('../words.js').ApiRendition & {forwarded?: boolean}} r */
function renditionWords(r) {
  const size = r.width ? [format.formatSize(r.width, r.height), r.fps ? format.formatFps(r.fps) : ''] : [format.channelName(r.channels ?? 0)];
  return [format.codecName(r.codec), ...size, r.bitrateBps ? format.formatBitrate(r.bitrateBps) : '', r.forwarded ? 'forwarded as it comes' : '']
    .filter(Boolean).join(' · ');
}

/** @param {string} name @returns {import('../monitor.js').View} */
export function broadcastView(name) {
  const path = `broadcasts/${segment(name)}`;
  const charts = CHARTS();
  const sessions = new SessionTable();
  const list = facts([
    ['State', (b) => Object.values(broadcastWords(b)).filter(Boolean).join(', ')],
    ['Source', (b) => b.source],
    ['Live for', (b) => (b.uptimeS ? model.formatAge(b.uptimeS) : '')],
    ['Picture', (b) => ofKind(b, 'video')],
    ['Sound', (b) => ofKind(b, 'audio')],
    ['Encoders', (b) => b.targets.map((/** @type {Target} */ t) => `${t.rendition}: ${format.formatBitrate(t.bitrateBps)} of ${format.formatBitrate(t.nominalBps)}, ${t.reason}`).join('\n')],
    ['Findings', (b) => b.findings.join('\n')],
  ]);
  const buttons = actions([
    { label: 'Open the source again', sure: 'Really open it again?', said: 'The source is opened again; viewers stay.', run: () => request('POST', `${path}/restart`) },
  ]);
  const events = happenings(({ fields }) => fields.broadcast === name);
  const element = make('div', {},
    make('p', { class: 'back' }, make('a', { href: '#/' }, 'Monitor')),
    make('h1', {}, name, ' ', make('a', { class: 'watch', href: new URL(segment(name), gatewayUrl()).pathname }, 'Watch')), list.element, buttons,
    make('div', { class: 'charts' }, ...charts.map(({ plot }) => plot.element)),
    make('section', {}, make('h2', {}, 'Sessions'), sessions.element), events.element);

  async function update() {
    const [broadcast, watching] = await Promise.all([
      get(path), get(`sessions?limit=${MOST_SESSIONS}&broadcast=${encodeURIComponent(name)}`),
    ]);
    list.show(broadcast);
    for (const { of, plot } of charts) plot.show(broadcast.history.map(of));
    sessions.show(watching);
    return broadcast.viewers === 1 ? '1 viewer' : `${format.formatCount(broadcast.viewers)} viewers`;
  }
  return { element, update, close: events.close, title: name };
}

/** @param {import('../words.js').Summary} broadcast @param {string} kind */
function ofKind(broadcast, kind) {
  return broadcast.tracks.filter((track) => track.kind === kind).flatMap((track) => track.renditions.map(renditionWords)).join('\n');
}
