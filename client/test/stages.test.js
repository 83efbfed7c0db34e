import assert from 'node:assert/strict';
import { test } from 'node:test';

import { STAGES, Stages } from '../src/worker/stages.js';

/** A clock that is ten seconds behind the gateway's. */
const clock = /** @type {any} */ ({ ready: true, toGateway: (/** @type {number} */ us) => us + 10_000_000 });
const frame = /** @type {any} */ ({
  captureUs: 20_000_000, grabbedUs: 20_001_000, convertedUs: 20_003_000, encodedUs: 20_006_000,
  firstByteUs: 10_010_000, arrivalUs: 10_015_000,
});

test('the stages of a frame add up to its latency', () => {
  const stages = new Stages();
  stages.queueUs = 1000;
  stages.add({ frame, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, clock);
  assert.deepEqual(stages.medians, { capture: 1, convert: 2, encode: 3, queue: 1, send: 3, receive: 5, decode: 6, paint: 7 });
  const sum = Object.values(stages.medians).reduce((a, b) => a + b, 0);
  assert.equal(sum * 1000, clock.toGateway(10_028_000) - frame.captureUs);
});

test('a stage that does not exist takes no time, and an unknown clock gives no gateway stages', () => {
  const stages = new Stages();
  const bare = { ...frame, grabbedUs: 0, convertedUs: 0, encodedUs: 20_006_000 };
  stages.add({ frame: bare, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, clock);
  assert.deepEqual([stages.medians.capture, stages.medians.convert, stages.medians.encode], [0, 0, 6]);
  stages.clear();
  stages.add({ frame, decodeUs: 0, decodedUs: 10_021_000 }, 10_028_000, /** @type {any} */ ({ ready: false }));
  assert.deepEqual([stages.medians.encode, stages.medians.decode], [0, 6]);
  assert.deepEqual(Object.keys(stages.medians), [...STAGES]);
});
