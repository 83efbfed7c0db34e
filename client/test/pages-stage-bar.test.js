import assert from 'node:assert/strict';
import { test } from 'node:test';

import { STAGES, stageParts, stageWordsOf } from '../src/pages/stage_bar.js';
import { STAGES as MEASURED } from '../src/worker/stages.js';

const none = /** @type {any} */ (Object.fromEntries(MEASURED.map((name) => [name, 0])));

test('the bar has all stages that are measured, in their order', () => {
  assert.deepEqual(STAGES.map(([name]) => name), [...MEASURED]);
});

test('parts are shares of the whole, and what takes no time is not named', () => {
  const parts = stageParts({ ...none, encode: 6, send: 12, reassemble: 0.04, paint: 5.96, capture: -3 });
  assert.ok(Math.abs(parts.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9);
  assert.equal(parts[4]?.share, 0.5);
  assert.equal(stageWordsOf(parts), 'encode 6.0 · send 12 · paint 6.0 ms');
});

test('before anything is measured there is nothing to see', () => {
  assert.ok(stageParts(none).every(({ share }) => share === 0));
  assert.equal(stageWordsOf(stageParts(none)), '');
});
