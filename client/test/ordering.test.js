import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameOrder } from '../src/media/ordering.js';
import { vectors } from './vectors.js';

/** @param {any} p */
const frameOf = (p) => ({
  group: p.group, index: p.index, keyframe: p.keyframe, ptsUs: p.pts_us, durationUs: p.duration_us,
  payload: new Uint8Array(p.bytes),
});

/** @param {any} order @param {any} step */
function take(order, step) {
  if (step.push) return order.push(frameOf(step.push), step.at_us);
  if (step.lost) return order.lost(step.lost[0], step.lost[1], step.at_us);
  if (step.coming) {
    order.coming(step.coming[0], step.coming[1]);
    return [];
  }
  return order.advance(step.at_us);
}

for (const { name, options: o, steps, counters } of vectors('ordering')) {
  test(`ordering: ${name}`, () => {
    const order = new FrameOrder({
      independent: o.independent, patienceUs: o.patience_us, tailUs: o.tail_us,
      maxFrames: o.max_frames, maxBytes: o.max_bytes,
    });
    for (const step of steps) {
      const out = take(order, step).map((/** @type {any} */ f) => [f.group, f.index]);
      assert.deepEqual(out, step.deliver, `at ${step.at_us}`);
      assert.equal(order.takeKeyframeRequest(), step.keyframe_request, `keyframe request at ${step.at_us}`);
      assert.equal(order.nextTimeout(), step.next_timeout_us, `timeout after ${step.at_us}`);
    }
    const { keyframeRequests, ...rest } = order.counters;
    assert.deepEqual({ ...rest, keyframe_requests: keyframeRequests }, counters);
  });
}
