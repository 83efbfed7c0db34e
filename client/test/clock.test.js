import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClockSync } from '../src/media/clock.js';
import { vectors } from './vectors.js';

for (const vector of vectors('clock')) {
  test(`clock: ${vector.name}`, () => {
    const clock = new ClockSync(vector.window_us);
    for (const s of vector.samples) {
      assert.equal(clock.add(s.client_us, s.received_us, s.sent_us, s.arrival_us), s.accepted);
      assert.equal(clock.offsetUs, s.offset_us);
      assert.equal(clock.rttUs, s.rtt_us);
    }
  });
}

test('nothing is claimed before the first sample', () => {
  const clock = new ClockSync();
  assert.equal(clock.ready, false);
  assert.equal(clock.toGateway(5), 5);
});
