import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APART_US, SoundOrder } from '../src/media/sound_order.js';

const NOW = 1_000_000;

/** @param {number} rendition @param {number} index @param {number} [group] */
const frame = (rendition, index, group = 0) => ({
  rendition, group, index, keyframe: true, ptsUs: index * 20_000, durationUs: 20_000, payload: new Uint8Array(50),
});

/** @param {SoundOrder<ReturnType<typeof frame>>} order @param {ReturnType<typeof frame>[]} frames */
const pushed = (order, frames) =>
  frames.flatMap((one) => order.push(one, NOW)).map(({ rendition, index }) => [rendition, index]);

/** @returns {SoundOrder<ReturnType<typeof frame>>} */
const fresh = () => new SoundOrder({ patienceUs: 50_000 });

test('each rendition is in order by itself', () => {
  const order = fresh();
  const first = [frame(1, 4), frame(0, 2, 90), frame(0, 4, 90), frame(1, 5), frame(0, 3, 90)];
  assert.deepEqual(pushed(order, first), [[1, 4], [0, 2], [1, 5], [0, 3], [0, 4]]);
  assert.equal(order.counters.gaps, 0);
  assert.deepEqual(pushed(order, [frame(0, 5, 90)]), [[0, 5]]);
});

test('what is missing is given up and counted', () => {
  const order = fresh();
  assert.deepEqual(pushed(order, [frame(0, 0), frame(0, 2)]), [[0, 0]]);
  assert.equal(order.nextTimeout(), NOW + 50_000);
  assert.deepEqual(order.advance(NOW + 50_000).map(({ index }) => index), [2]);
  assert.equal(order.counters.gaps, 1);
  assert.equal(order.nextTimeout(), null);
  pushed(order, [frame(0, 4)]);
  assert.deepEqual(order.lost(0, 0, 3, NOW).map(({ index }) => index), [4]);
  assert.deepEqual(order.lost(7, 0, 3, NOW), []);
});

test('one that was left and comes again has lost nothing', () => {
  const order = fresh();
  pushed(order, [frame(0, 0), frame(0, 1), frame(1, 1), frame(1, 2)]);
  const later = 2 + APART_US / 20_000;
  assert.deepEqual(pushed(order, [frame(0, later)]), [[0, later]]);
  assert.equal(order.counters.gaps, 0);
});

test('a straggler of the one that was left still comes in order', () => {
  const order = fresh();
  const all = [frame(0, 0), frame(1, 0), frame(0, 1), frame(1, 1)];
  assert.deepEqual(pushed(order, all), [[0, 0], [1, 0], [0, 1], [1, 1]]);
  assert.equal(order.counters.gaps + order.counters.late, 0);
});
