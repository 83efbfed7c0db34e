import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Freezes } from '../src/worker/freezes.js';

const FRAME = 33_333;

/** @param {number} frames painted in time */
function steady(frames) {
  const freezes = new Freezes();
  for (let i = 0; i < frames; i++) freezes.paint(i * FRAME, i * FRAME, 0);
  return freezes;
}

test('pictures that come evenly, or a little late, are no freeze', () => {
  const freezes = steady(40);
  freezes.paint(40 * FRAME + 100_000, 40 * FRAME, 0);
  assert.deepEqual([freezes.count, freezes.totalUs], [0, 0]);
});

test('a picture that stands for 150 ms longer than usual is a freeze, from the one before to the one after', () => {
  for (const [late, count] of /** @type {const} */ ([[149_000, 0], [151_000, 1]])) {
    const freezes = steady(40);
    freezes.paint(40 * FRAME + late, 40 * FRAME, 0);
    assert.equal(freezes.count, count);
    assert.equal(freezes.totalUs, count * (FRAME + late));
  }
});

test('at a low rate it is three frames', () => {
  const freezes = new Freezes();
  for (let i = 0; i < 10; i++) freezes.paint(i * 200_000, i * 200_000, 0);
  freezes.paint(9 * 200_000 + 590_000, 10 * 200_000, 0);
  assert.equal(freezes.count, 0);
  freezes.pause();
  for (let i = 20; i < 30; i++) freezes.paint(i * 200_000, i * 200_000, 0);
  freezes.paint(29 * 200_000 + 610_000, 30 * 200_000, 0);
  assert.equal(freezes.count, 1);
});

test('a source that has no new picture does not freeze', () => {
  const freezes = steady(40);
  freezes.paint(39 * FRAME + 5_000_000, 39 * FRAME + 5_000_000, 0);
  assert.equal(freezes.count, 0);
});

test('but where pictures were lost meanwhile, it had some', () => {
  const freezes = steady(40);
  freezes.paint(39 * FRAME + 500_000, 39 * FRAME + 500_000, 14);
  assert.equal(freezes.count, 1);
});

test('what is not to be seen does not freeze, nor do the first pictures', () => {
  const freezes = steady(40);
  freezes.pause();
  freezes.paint(90_000_000, 90_000_000, 0);
  freezes.paint(91_000_000, 90_000_000 + FRAME, 0);
  assert.equal(freezes.count, 0);
});
