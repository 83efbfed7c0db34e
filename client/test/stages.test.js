import assert from 'node:assert/strict';
import { test } from 'node:test';

import { STAGES, Stages } from '../src/worker/stages.js';

/** A clock that is ten seconds behind the gateway's. */
const clock = /** @type {any} */ ({ ready: true, toGateway: (/** @type {number} */ us) => us + 10_000_000 });
const frame = /** @type {any} */ ({
  captureUs: 20_000_000, grabbedUs: 20_001_000, convertedUs: 20_003_000, encodedUs: 20_006_000,
  firstByteUs: 10_010_000, arrivalUs: 10_015_000, orderedUs: 10_016_000,
});

test('the stages of a frame add up to its latency', () => {
  const stages = new Stages();
  stages.queueUs = 1000;
  stages.add({ frame, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, clock);
  assert.deepEqual(stages.medians, { capture: 1, convert: 2, encode: 3, queue: 1, send: 3, receive: 5, reassemble: 1, decode: 5, paint: 7 });
  const sum = Object.values(stages.medians).reduce((a, b) => a + b, 0);
  assert.equal(sum * 1000, clock.toGateway(10_028_000) - frame.captureUs);
});

test('a stage that does not exist takes no time, and an unknown clock gives no gateway stages', () => {
  const stages = new Stages();
  const bare = { ...frame, grabbedUs: 0, convertedUs: 0, encodedUs: 20_006_000 };
  stages.add({ frame: bare, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, clock);
  assert.deepEqual([stages.medians.capture, stages.medians.convert, stages.medians.encode], [0, 0, 6]);
  stages.clear();
  stages.add({ frame, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, { ...clock, ready: false });
  assert.deepEqual([stages.medians.encode, stages.medians.decode], [0, 5]);
  assert.deepEqual(Object.keys(stages.medians), [...STAGES]);
});

test('some frames a second are traced in full for the gateway, and none before the clock is known', () => {
  const stages = new Stages();
  stages.queueUs = 1000;
  for (let i = 0; i < 60; i++) {
    const info = { frame: { ...frame, track: 0, group: 3, index: i }, decodeUs: 0, decodedUs: 10_021_000 };
    stages.add(info, 10_028_000 + i * 33_333, i < 30 ? /** @type {any} */ ({ ...clock, ready: false }) : clock);
  }
  const trace = stages.takeTrace(10_000_000);
  assert.equal(trace?.frames.length, 8);
  assert.deepEqual(trace?.frames[0], { track: 0, group: 3, index: 30, stages: [1000, 2000, 3000, 1000, 3000, 5000, 1000, 5000, 7000 + 30 * 33_333] });
  const indexes = trace?.frames.map((/** @type {any} */ traced) => traced.index);
  assert.ok(indexes.every((/** @type {number} */ index, /** @type {number} */ i) => i === 0 || index - indexes[i - 1] >= 3), 'spread over the second');
  stages.add({ frame, decodeUs: 0, decodedUs: 10_021_000 }, 12_500_000, clock);
  assert.equal(stages.takeTrace(10_900_000), null, 'once a second');
  assert.equal(stages.takeTrace(11_000_000)?.frames.length, 1);
  assert.equal(stages.takeTrace(13_000_000), null, 'nothing to tell');
});

test('an estimate of the clock that is off makes no negative stage', () => {
  const stages = new Stages();
  stages.queueUs = 9000;
  stages.add({ frame, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, clock);
  assert.equal(stages.takeTrace(0)?.frames[0].stages[4], 0);
});
