import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ClockSync } from '../src/media/clock.js';
import { Timeline } from '../src/worker/timeline.js';

const FRAME = 33_333;

/** Pictures that are ready 30 ms after their timestamp, and two that come later. */
function begun() {
  const clock = new ClockSync();
  clock.add(0, 1, 1, 2); // no offset
  const timeline = new Timeline(() => clock);
  for (let i = 0; i < 120; i++) timeline.pictures.add(i % 60 === 7 ? 60_000 : 30_000, i * FRAME);
  return timeline;
}

/** When pictures are due, one each FRAME. @param {Timeline} timeline @param {number} fromUs @param {number} count @returns {number[]} delays */
function delays(timeline, fromUs, count) {
  return Array.from({ length: count }, (_, i) => {
    const now = fromUs + i * FRAME;
    return timeline.pictureDue(now - 30_000, now) - (now - 30_000);
  });
}

const steepest = (/** @type {number[]} */ values) => Math.max(...values.slice(1).map((value, i) => Math.abs(value - /** @type {number} */ (values[i]))));

test('asap holds nothing back', () => {
  assert.deepEqual(new Set(delays(begun(), 4e6, 10)), new Set([30_000]));
});

test('from asap to smooth and back the pictures come slower or faster, and none leaps', () => {
  const timeline = begun();
  delays(timeline, 4e6, 10);
  timeline.mode = 'smooth';
  const there = delays(timeline, 5e6, 60);
  assert.ok(/** @type {number} */ (there[0]) < 60_000 && there.at(-1) === 500_000, `${there[0]}, ${there.at(-1)}`);
  assert.ok(steepest(there) < FRAME * 0.41);
  timeline.mode = 'asap';
  const back = delays(timeline, 7e6, 60);
  assert.ok(/** @type {number} */ (back[0]) > 480_000 && back.at(-1) === 30_000);
  assert.ok(steepest(back) < FRAME * 0.41);
});

test('in sync a picture is due when its sound is heard, also where that changes', () => {
  const timeline = begun();
  timeline.mode = 'sync';
  timeline.heardDelayUs = 80_000;
  delays(timeline, 4e6, 30);
  assert.equal(delays(timeline, 5e6, 1)[0], 80_000);
  let worst = 0;
  for (let i = 0; i < 60; i++) { // as fast as sound is stretched
    timeline.heardDelayUs += 0.25 * FRAME;
    worst = Math.max(worst, Math.abs(/** @type {number} */ (delays(timeline, 5e6 + (i + 1) * FRAME, 1)[0]) - timeline.heardDelayUs));
  }
  assert.ok(worst <= 40_000, `${worst}`);
  assert.ok(worst < 1_000, `${worst}`);
});

test('where the sound stops for a moment the pictures go on as they did', () => {
  const timeline = begun();
  timeline.mode = 'sync';
  timeline.heardDelayUs = 200_000;
  delays(timeline, 4e6, 30);
  timeline.heardDelayUs = null;
  const without = delays(timeline, 4e6 + 30 * FRAME, 3);
  assert.ok(Math.min(...without) > 150_000, `${without}`);
});

test('a delay shrinks when its reason is gone', () => {
  const timeline = begun();
  timeline.mode = 'sync';
  for (let i = 0; i < 120; i++) timeline.pictures.add(i % 5 ? 30_000 : 150_000, 5e6 + i * FRAME);
  const deep = delays(timeline, 9e6, 60).at(-1) ?? 0;
  assert.ok(deep >= 150_000);
  for (let i = 0; i < 150; i++) timeline.pictures.add(30_000, 9e6 + i * FRAME);
  assert.ok((delays(timeline, 14e6, 60).at(-1) ?? 0) < 40_000);
});
