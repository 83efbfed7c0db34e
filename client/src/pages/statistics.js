/** The statistics over the picture: figures and curves of the last half minute. */

import { make, makeSvg, setText } from './dom.js';
import * as format from './format.js';
import { reorderWords } from './renditions.js';
import { Series, curve, svgArea, svgPoints } from './series.js';
import { STAGES, stageParts, stageWordsOf } from './stage_bar.js';
import { transportWords } from './words.js';

/** @typedef {import('../types.js').PlayerStats} PlayerStats */

/**
 * One row. `curve` is the figure drawn, and `top` what the curve's full height is at least;
 * `grows`: the figure is a count, and its growth is drawn.
 * @typedef {object} Row
 * @property {string} label
 * @property {(stats: PlayerStats, rendition: string) => string} value nothing: the row is not shown
 * @property {(stats: PlayerStats) => number} [curve]
 * @property {number} [top]
 * @property {boolean} [grows]
 */

const SAMPLE_MS = 500;
const SAMPLES = 60;
const WIDTH = 76;
const HEIGHT = 20;

/** @param {PlayerStats} stats @param {string} key */
const gateway = (stats, key) => Number(stats.gateway?.[key] ?? NaN);
/** What an older gateway does not tell, or is nothing, is not shown. @param {PlayerStats} stats @param {string} key @param {(value: number) => string} words */
const told = (stats, key, words) => (gateway(stats, key) > 0 ? words(gateway(stats, key)) : '');
/** Only where frames come in datagrams. @param {PlayerStats} stats @param {number} count */
const counted = (stats, count) => (stats.fragmentsReceived ? format.formatCount(count) : '');
/** @param {number} part @param {number} whole */
const share = (part, whole) => (whole > 0 && part > 0 ? ` (${((100 * part) / whole).toFixed(1)} %)` : '');

/** @type {Record<string, string>} */
const DELIVERIES = { stream: 'a stream for each frame', datagram: 'datagrams', auto: 'streams and datagrams' };

/** @type {[string, Row[]][]} */
const GROUPS = [
  ['Picture', [
    { label: 'Rendition', value: (_, rendition) => rendition },
    { label: 'Coded by', value: (s) => (s.rendition < 0 ? '' : s.forwarded ? 'the source, forwarded' : 'the gateway') },
    { label: 'B-frames', value: (s) => reorderWords(s.reorderFrames, s.reorderMs) },
    { label: 'Codec', value: (s) => format.codecName(s.codec) },
    { label: 'Size', value: (s) => format.formatSize(s.width, s.height) },
    { label: 'Frame rate', value: (s) => format.formatFps(Math.round(s.fps * 10) / 10), curve: (s) => s.fps, top: 30 },
    { label: 'Bit rate', value: (s) => format.formatBitrate(s.bitrateBps), curve: (s) => s.bitrateBps, top: 100_000 },
  ]],
  ['Delay', [
    { label: 'Glass to glass', value: (s) => format.formatMs(s.latencyMs.last || NaN), curve: (s) => s.latencyMs.last, top: 50 },
    { label: 'Median, 95 %', value: (s) => `${format.formatMs(s.latencyMs.p50 || NaN)}, ${format.formatMs(s.latencyMs.p95 || NaN)}` },
    { label: 'Jitter', value: (s) => format.formatMs(s.jitterMs), curve: (s) => s.jitterMs, top: 10 },
    { label: 'Sound ahead', value: (s) => format.formatMs(s.avSkewMs) },
    { label: 'Round trip', value: (s) => format.formatMs(s.rttMs), curve: (s) => s.rttMs, top: 10 },
  ]],
  ['Frames', [
    { label: 'Painted', value: (s) => `${format.formatCount(s.framesPainted)} of ${format.formatCount(s.framesReceived)}` },
    { label: 'Dropped', value: (s) => format.formatCount(s.framesDropped) + share(s.framesDropped, s.framesReceived), curve: (s) => s.framesDropped, grows: true, top: 4 },
    { label: 'Freezes', value: (s) => format.formatCount(s.freezeCount) + (s.freezeCount ? `, ${format.formatMs(s.freezeMs)}` : ''), curve: (s) => s.freezeCount, grows: true, top: 2 },
    { label: 'Decode queue', value: (s) => format.formatCount(s.decodeQueue), curve: (s) => s.decodeQueue, top: 4 },
    { label: 'Never sent', value: (s) => format.formatCount(gateway(s, 'frames_dropped')) },
  ]],
  ['Delivery', [
    { label: 'How', value: (s) => (s.transport === 'websocket' ? 'messages, one after another' : DELIVERIES[s.delivery] ?? s.delivery) },
    { label: 'Why', value: (s) => String(s.gateway?.delivery_reason ?? '') },
    { label: 'Lost on the way', value: (s) => (s.gateway?.loss_ppm === undefined ? '' : format.formatShare(gateway(s, 'loss_ppm'))), curve: (s) => gateway(s, 'loss_ppm'), top: 20_000 },
    { label: 'The path carries', value: (s) => told(s, 'estimate_bps', format.formatBitrate), curve: (s) => gateway(s, 'estimate_bps'), top: 1_000_000 },
    { label: 'Sent to spare', value: (s) => told(s, 'fec_share_ppm', format.formatShare) },
    { label: 'Pieces', value: (s) => counted(s, s.fragmentsReceived) },
    { label: 'Mended', value: (s) => counted(s, s.fragmentsRecovered), curve: (s) => s.fragmentsRecovered, grows: true, top: 4 },
    { label: 'Asked again', value: (s) => counted(s, s.nacksSent), curve: (s) => s.nacksSent, grows: true, top: 4 },
    { label: 'Answered', value: (s) => told(s, 'nacks_answered', format.formatCount) },
    { label: 'Came too late', value: (s) => counted(s, s.framesExpired), curve: (s) => s.framesExpired, grows: true, top: 2 },
    { label: 'Left too late', value: (s) => told(s, 'frames_late', format.formatCount) },
  ]],
  ['Sound', [
    { label: 'Codec', value: (s) => format.codecName(s.audioCodec) },
    { label: 'Buffer', value: (s) => format.formatMs(s.audioBufferMs), curve: (s) => s.audioBufferMs, top: 60 },
    { label: 'Needed for jitter', value: (s) => (s.audioTargetMs ? format.formatMs(s.audioTargetMs) : '') },
    { label: 'Speed', value: (s) => (s.audioRate === 1 ? '' : format.formatShare(s.audioRate * 1e6)) },
    { label: 'Made up', value: (s) => format.formatMs(s.audioConcealedMs) + share(s.audioFramesConcealed, s.audioFramesReceived), curve: (s) => s.audioConcealedMs, grows: true, top: 40 },
    { label: 'Underruns', value: (s) => format.formatCount(s.audioUnderruns), curve: (s) => s.audioUnderruns, grows: true, top: 2 },
  ]],
  ['Session', [
    { label: 'State', value: (s) => s.state },
    { label: 'Transport', value: transportWords },
    { label: 'First picture after', value: (s) => format.formatMs(s.firstFrameMs || NaN) },
    { label: 'Reconnects', value: (s) => format.formatCount(s.reconnects) },
    { label: 'Changes of the way', value: (s) => format.formatCount(s.roams) },
    { label: 'Gap of the last', value: (s) => (s.roamMs ? format.formatMs(s.roamMs) : '') },
    { label: 'Shown by', value: (s) => s.sink || '–' },
  ]],
];

/** @typedef {{row: Row, dd: HTMLElement, parts: HTMLElement, series: Series, line: SVGElement | null, area: SVGElement | null, before: number}} Live */

export class Statistics {
  /** @type {Live[]} */ #rows = [];
  #stages = make('div', { class: 'stages', 'aria-hidden': 'true' }, ...STAGES.map(([, where]) => make('i', { class: where })));
  #stageNames = make('p', { class: 'stage-names' });
  #visible = false;
  #sampledAt = -Infinity;
  /** @type {PlayerStats | null} */ #last = null;
  #rendition = '';

  /** @param {HTMLElement} body */
  constructor(body) {
    for (const [name, rows] of GROUPS) {
      body.append(make('h3', {}, name), make('dl', {}, ...rows.map((row) => this.#make(row))));
      if (name === 'Delay') body.append(this.#stages, this.#stageNames);
    }
  }

  /** @param {boolean} visible nothing is drawn while it is not */
  setVisible(visible) {
    this.#visible = visible;
    if (visible && this.#last) this.#draw(this.#last);
  }

  /** @param {PlayerStats} stats @param {string} rendition its name @param {number} nowMs */
  update(stats, rendition, nowMs) {
    this.#last = stats;
    this.#rendition = rendition;
    if (nowMs - this.#sampledAt < SAMPLE_MS * 0.9) return;
    this.#sampledAt = nowMs;
    for (const live of this.#rows) {
      const { row } = live;
      if (!row.curve) continue;
      const value = row.curve(stats);
      live.series.push(row.grows ? Math.max(0, value - live.before) : value);
      live.before = value;
    }
    if (this.#visible) this.#draw(stats);
  }

  /** @param {Row} row */
  #make(row) {
    const dd = make('dd', {}, '–');
    const parts = make('div', { class: 'stat' }, make('dt', {}, row.label), dd);
    /** @type {Live} */
    const live = { row, dd, parts, series: new Series(SAMPLES), line: null, area: null, before: 0 };
    if (row.curve) {
      live.area = makeSvg('polyline', { class: 'area' });
      live.line = makeSvg('polyline');
      parts.append(makeSvg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' }, live.area, live.line));
    }
    this.#rows.push(live);
    return parts;
  }

  /** @param {PlayerStats} stats */
  #draw(stats) {
    for (const { row, dd, parts, series, line, area } of this.#rows) {
      const value = row.value(stats, this.#rendition);
      parts.hidden = value === '';
      setText(dd, value);
      if (!line || !area) continue;
      const points = curve(series.values, SAMPLES, WIDTH, HEIGHT, row.top ?? 0);
      line.setAttribute('points', svgPoints(points));
      area.setAttribute('points', svgArea(points, HEIGHT));
    }
    this.#drawStages(stats.stages);
  }

  /** @param {PlayerStats['stages']} stages */
  #drawStages(stages) {
    const parts = stageParts(stages);
    parts.forEach(({ share: grow }, i) => {
      const bar = this.#stages.children[i];
      if (bar instanceof HTMLElement) bar.style.flexGrow = String(grow);
    });
    setText(this.#stageNames, stageWordsOf(parts));
  }
}
