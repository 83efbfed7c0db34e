import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Series, curve, svgArea, svgPoints } from '../src/pages/series.js';

test('a series keeps the newest values and bridges what is no number', () => {
  const series = new Series(3);
  series.push(NaN);
  assert.deepEqual(series.values, [0]);
  for (const value of [1, 2, NaN, 5]) series.push(value);
  assert.deepEqual(series.values, [2, 2, 5]);
});

test('a full curve goes from the left edge to the right one', () => {
  assert.deepEqual(curve([0, 5, 10], 3, 100, 20, 1), [[0, 20], [50, 10], [100, 0]]);
});

test('a curve that has just begun is at the right', () => {
  assert.deepEqual(curve([10, 10], 5, 100, 20, 10), [[75, 0], [100, 0]]);
  assert.deepEqual(curve([10], 5, 100, 20, 10), [[100, 0]]);
  assert.deepEqual(curve([], 5, 100, 20, 10), []);
});

test('small values stay small below the least top, large ones fill the height', () => {
  assert.deepEqual(curve([1], 5, 100, 20, 10), [[100, 18]]);
  assert.deepEqual(curve([40, 20], 2, 100, 20, 10), [[0, 0], [100, 10]]);
});

test('negative values, a top of nothing and a capacity of one do no harm', () => {
  assert.deepEqual(curve([-5], 1, 100, 20, 0), [[100, 20]]);
  assert.deepEqual(curve([0, 0], 2, 100, 20, 0), [[0, 20], [100, 20]]);
});

test('every point is inside the box, whatever the values', () => {
  const values = Array.from({ length: 500 }, (_, i) => Math.sin(i * 12.9898) * 1e6 * (i % 7));
  for (const [x, y] of curve(values, 500, 76, 20, 3)) {
    assert.ok(x >= 0 && x <= 76.1, `x ${x}`);
    assert.ok(y >= 0 && y <= 20, `y ${y}`);
  }
});

test('points become SVG, and the area is closed along the bottom', () => {
  assert.equal(svgPoints([[0, 1], [2.5, 3]]), '0,1 2.5,3');
  assert.equal(svgArea([[0, 1], [2, 3]], 20), '0,20 0,1 2,3 2,20');
  assert.equal(svgArea([], 20), '');
});
