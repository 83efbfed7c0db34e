/** One session: what its path does, where its time goes, and what may be done about it. */

import { make, setText } from '../dom.js';
import * as format from '../format.js';
import { STAGES, stageParts, stageWordsOf } from '../stage_bar.js';
import { get, request, segment } from './api.js';
import { chart } from './chart.js';
import { actions, download, facts } from './details.js';
import * as model from './model.js';

/** @typedef {import('./model.js').Session} Session */
/** @typedef {import('./model.js').SessionSample} Sample */

const CHARTS = () => [
  { of: (/** @type {Sample} */ s) => s.rateBps, plot: chart('Bit rate', format.formatBitrate, 1e6, 'frames sent to this viewer') },
  { of: (/** @type {Sample} */ s) => s.rttUs, plot: chart('Round trip', model.formatUs, 10_000) },
  { of: (/** @type {Sample} */ s) => s.loss, plot: chart('Loss', model.formatLoss, 0.05, 'of packets, in the last seconds') },
  { of: (/** @type {Sample} */ s) => s.queueingUs, plot: chart('Queue on the path', model.formatUs, 20_000, 'how long what is sent now waits there') },
  { of: (/** @type {Sample} */ s) => s.queuedBytes, plot: chart('Queue here', model.formatBytes, 64_000, 'frames that wait for the path') },
  { of: (/** @type {Sample} */ s) => s.framesDropped, plot: chart('Frames dropped', (v) => `${format.formatCount(v)} a second`, 5, 'each second; not worth sending any more') },
  { of: (/** @type {Sample} */ s) => model.totalMs(s.latencyMs), plot: chart('Capture to paint', (v) => format.formatMs(v || NaN), 50, 'as the viewer tells') },
];

/** Where the time goes, as a bar. */
function stages() {
  const parts = STAGES.map(([name, who]) => make('i', { class: who, title: name }));
  const words = make('p', { class: 'stage-names' });
  const element = make('div', { hidden: '' }, make('h2', {}, 'Where the time goes'), make('div', { class: 'stages', 'aria-hidden': 'true' }, ...parts), words);
  /** @param {Record<string, number>} latencyMs */
  const show = (latencyMs) => {
    element.hidden = model.totalMs(latencyMs) === 0;
    const shares = stageParts(/** @type {Record<import('../../types.js').StageName, number>} */ (latencyMs));
    shares.forEach(({ share }, i) => parts[i]?.style.setProperty('flex-grow', String(share)));
    setText(words, stageWordsOf(shares));
  };
  return { element, show };
}

/** @param {string} id @returns {import('../monitor.js').View} */
export function sessionView(id) {
  const path = `sessions/${segment(id)}`;
  const charts = CHARTS();
  const bar = stages();
  const broadcast = make('a', {});
  const ended = make('p', { class: 'notice', role: 'status', hidden: '' }, 'This session is over. These are its last figures.');
  const list = facts([
    ['Viewer', (s) => [s.identity, s.client].filter(Boolean).join(' · ') || 'says nothing of itself'],
    ['Address', (s) => s.address ?? ''],
    ['Over', (s) => model.formatTransport(s.transport)],
    ['Watching for', (s) => model.formatAge(s.ageS)],
    ['Rendition', (s) => (s.rendition < 0 ? 'none' : `${s.rendition}${s.renditionReason ? `, ${s.renditionReason}` : ''}`)],
    ['Path carries', (s) => (s.estimateBps ? format.formatBitrate(s.estimateBps) : 'not known')],
    ['Frames', (s) => `${format.formatCount(s.framesSent)} sent, ${format.formatCount(s.framesDropped)} dropped, ${format.formatCount(s.streamsReset)} given up on the way`],
    ['Worker', (s) => String(s.worker)],
  ]);
  const buttons = actions([
    { label: 'Ask for a keyframe', said: 'The next picture is one.', run: () => request('POST', `${path}/keyframe`) },
    { label: 'Note the connection', said: 'Its packets are noted from now on; download them when there are enough.', run: () => request('POST', `${path}/qlog`) },
    { label: 'Download the notes', said: 'Open the file with qvis.', run: () => download(`${path}/qlog`, `${id}.sqlog`) },
    { label: 'End the session', sure: 'Really end it?', said: 'The viewer was told.', run: () => request('DELETE', path) },
  ]);
  const element = make('div', {},
    make('p', { class: 'back' }, make('a', { href: '#/' }, 'Monitor'), ' / ', broadcast),
    make('h1', {}, 'Session ', make('code', {}, id)), ended, list.element, buttons,
    make('div', { class: 'charts' }, ...charts.map(({ plot }) => plot.element)), bar.element);

  let known = false;
  async function update() {
    /** @type {Session & {history: Sample[]}} */ let session;
    try {
      session = await get(path);
    } catch (error) {
      if (!known || /** @type {{status?: number}} */ (error).status !== 404) throw error;
      ended.hidden = false; // what it was stays to be looked at
      return 'over';
    }
    known = true;
    broadcast.setAttribute('href', model.placeHref('broadcast', session.broadcast));
    setText(broadcast, session.broadcast);
    list.show(session);
    for (const { of, plot } of charts) plot.show(session.history.map(of));
    bar.show(session.latencyMs);
    return `${session.broadcast} · ${model.formatAge(session.ageS)}`;
  }
  return { element, update, close: () => {}, title: `Session ${id}` };
}
