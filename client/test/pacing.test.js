/** Pictures of several rates on displays of several rates: who is shown in which refresh. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pacer } from '../src/media/pacing.js';

/** @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

/**
 * @param {number} fps of the pictures @param {number} hz of the display @param {number} jitterUs of when they are due
 * @param {number} [offsetUs] of the pictures @returns {{shown: {index: number, tick: number, lateUs: number}[], dropped: number, period: number}} of the second half
 */
function show(fps, hz, jitterUs, offsetUs = 0) {
  const pacer = new Pacer();
  const next = random(5);
  const count = fps * 20;
  const dues = Array.from({ length: count }, (_, i) => 1e6 + (i * 1e6) / fps + offsetUs + next() * jitterUs).sort((a, b) => a - b);
  const shown = [];
  let [at, dropped] = [0, 0];
  for (let tick = 0; tick < hz * 20; tick++) {
    const tickUs = (tick * 1e6) / hz;
    pacer.tick(tickUs);
    if (!pacer.steady(tickUs)) continue;
    const held = dues.slice(at, at + 12);
    const leave = pacer.choose(held, tickUs);
    if (leave) shown.push({ index: at + leave - 1, tick, lateUs: tickUs - /** @type {number} */ (dues[at + leave - 1]) });
    dropped += Math.max(0, leave - 1);
    at += leave;
  }
  return { shown: shown.filter(({ index }) => index > count / 2 && index < count - 60), dropped, period: pacer.periodUs };
}

/** @param {{tick: number}[]} shown */
const gaps = (shown) => shown.slice(1).map(({ tick }, i) => tick - /** @type {{tick: number}} */ (shown[i]).tick);

for (const [fps, hz, wanted] of [[30, 60, 2], [60, 60, 1], [25, 50, 2], [25, 75, 3], [24, 120, 5]]) {
  for (const offset of [0, 3_000, 8_000, 8_333, 16_000]) {
    test(`${fps} pictures a second on a display of ${hz} Hz, ${offset} us apart: each for ${wanted} refreshes`, () => {
      const { shown, dropped, period } = show(/** @type {number} */ (fps), /** @type {number} */ (hz), 3_000, offset);
      assert.deepEqual([...new Set(gaps(shown))], [wanted]);
      assert.equal(dropped, 0);
      assert.ok(Math.abs(period - 1e6 / /** @type {number} */ (hz)) < 1);
      assert.ok(shown.every(({ lateUs }) => Math.abs(lateUs) < 1.6 * period), 'near to when it was due');
    });
  }
}

test('rates that do not fit are spread: 25 pictures on 60 Hz take two or three refreshes, in turn', () => {
  const { shown, dropped } = show(25, 60, 0, 4_000);
  const runs = gaps(shown);
  assert.deepEqual([...new Set(runs)].sort(), [2, 3]);
  assert.ok(runs.every((gap, i) => i === 0 || gap !== 3 || runs[i - 1] !== 3), 'never the longer one twice');
  assert.equal(dropped, 0);
});

test('more pictures than refreshes: never two in one, the older gives way', () => {
  const { shown, dropped } = show(120, 60, 1_000);
  assert.deepEqual([...new Set(gaps(shown))], [1]);
  assert.ok(dropped > 120 * 20 / 2 - 120);
});

test('a late picture is shown at once, and what piled up behind it gives way', () => {
  const pacer = new Pacer();
  for (let tick = 0; tick <= 10; tick++) pacer.tick(tick * 16_667);
  assert.equal(pacer.choose([100_000], 166_670), 1);
  assert.equal(pacer.choose([60_000, 93_000, 126_000, 160_000, 193_000], 166_670), 3);
  assert.equal(pacer.choose([], 166_670), 0);
  assert.equal(pacer.choose([190_000], 166_670), 0);
});

test('without refreshes nothing waits for them', () => {
  const pacer = new Pacer();
  assert.equal(pacer.steady(0), false);
  for (let tick = 0; tick < 10; tick++) pacer.tick(tick * 16_667);
  assert.equal(pacer.steady(9 * 16_667 + 20_000), true);
  assert.equal(pacer.steady(9 * 16_667 + 120_000), false);
  pacer.reset();
  assert.equal(pacer.steady(9 * 16_667), false);
});
