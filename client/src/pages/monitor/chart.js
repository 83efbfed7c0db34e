/** Curves: small ones in tables, and large ones that tell their values. */

import { make, makeSvg, setText } from '../dom.js';
import { curve, svgArea, svgPoints } from '../series.js';

export const SAMPLES = 120; // as many as the gateway keeps, one a second
const SPARK = { width: 96, height: 22 };
const CHART = { width: 600, height: 120 };

/** @param {{width: number, height: number}} size @param {string} name of the class */
function plot({ width, height }, name) {
  const area = makeSvg('polygon', { class: 'area' });
  const line = makeSvg('polyline', { class: 'line', 'vector-effect': 'non-scaling-stroke' });
  const svg = makeSvg('svg', { class: name, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, area, line);
  /** @param {readonly number[]} values @param {number} leastTop */
  const draw = (values, leastTop) => {
    const points = curve(values, SAMPLES, width, height, leastTop);
    line.setAttribute('points', svgPoints(points));
    area.setAttribute('points', svgArea(points, height));
  };
  return { svg, draw };
}

/** A small curve without words. */
export const sparkline = () => plot(SPARK, 'spark');

/**
 * A large curve with its last value, its top, and the value under the pointer.
 * @param {string} label @param {(value: number) => string} words @param {number} leastTop @param {string} [hint]
 */
export function chart(label, words, leastTop, hint = '') {
  const { svg, draw } = plot(CHART, 'plot');
  const value = make('b');
  const top = make('span', { class: 'top', 'aria-hidden': 'true' });
  const read = make('span', { class: 'read', 'aria-hidden': 'true' });
  const cursor = make('i', { class: 'cursor', hidden: '' });
  const canvas = make('div', { class: 'canvas' }, svg, cursor, top, read);
  const element = make('figure', { class: 'chart' }, make('figcaption', {}, make('span', {}, label), value), canvas);
  if (hint) element.title = hint;
  /** @type {readonly number[]} */ let shown = [];
  canvas.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const ago = Math.round((1 - share) * (SAMPLES - 1));
    const at = shown[shown.length - 1 - ago];
    cursor.hidden = at === undefined;
    setText(read, at === undefined ? '' : `${words(at)} ${ago ? `${ago} s ago` : 'now'}`);
    cursor.style.setProperty('left', `${share * 100}%`);
  });
  canvas.addEventListener('pointerleave', () => {
    cursor.hidden = true;
    setText(read, '');
  });
  /** @param {readonly number[]} values oldest first, one a second */
  const show = (values) => {
    shown = values.slice(-SAMPLES);
    setText(value, shown.length ? words(shown[shown.length - 1] ?? 0) : '–');
    setText(top, words(Math.max(leastTop, ...shown)));
    draw(shown, leastTop);
  };
  return { element, show };
}
