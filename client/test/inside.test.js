import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Inside } from '../src/media/inside.js';

/** @param {number} ptsUs @param {number} [group] */
const chunk = (ptsUs, group = 0) => ({ frame: { group, ptsUs } });

/** @param {...number} timestamps one group, in decoding order */
function filled(...timestamps) {
  /** @type {Inside<ReturnType<typeof chunk>>} */ const inside = new Inside();
  for (const ptsUs of timestamps) inside.put(chunk(ptsUs));
  return inside;
}

/** @param {Inside<ReturnType<typeof chunk>>} inside @param {...number} timestamps pictures that come out */
const out = (inside, ...timestamps) => timestamps.map((at) => inside.take(at)?.frame.ptsUs ?? null);

test('pictures in decoding order are matched one by one', () => {
  const inside = filled(0, 40, 80);
  assert.deepEqual(out(inside, 0, 40, 80), [0, 40, 80]);
  assert.deepEqual([inside.count, inside.swallowed, inside.outOfOrder], [0, 0, 0]);
});

test('B-frames come out between what went in before them, and nothing is lost', () => {
  const inside = filled(0, 120, 40, 80, 240, 160, 200);
  assert.deepEqual(out(inside, 0, 40, 80, 120, 160), [0, 40, 80, 120, 160]);
  assert.deepEqual([inside.count, inside.swallowed], [2, 0]);
  assert.equal(inside.last?.frame.ptsUs, 200);
  assert.deepEqual(out(inside, 200, 240), [200, 240]);
  assert.deepEqual([inside.count, inside.swallowed, inside.outOfOrder], [0, 0, 0]);
});

test('a picture that later ones have overtaken is swallowed; what is shown after them is not', () => {
  const inside = filled(0, 120, 40, 80);
  assert.deepEqual(out(inside, 0, 80), [0, 80]);
  assert.deepEqual([inside.count, inside.swallowed], [1, 1]);
  assert.deepEqual(out(inside, 120), [120]);
});

test('a swallowed picture that comes after all is not shown, and is counted', () => {
  const inside = filled(0, 120, 40, 80);
  assert.deepEqual(out(inside, 0, 120, 40, 80), [0, 120, null, null]);
  assert.deepEqual([inside.swallowed, inside.outOfOrder], [2, 2]);
});

test('what was never put in is none of ours', () => {
  const inside = filled(0, 40);
  assert.deepEqual(out(inside, 41), [null]);
  assert.deepEqual([inside.count, inside.swallowed, inside.outOfOrder], [2, 0, 0]);
});

test('a later group whose timestamps begin anew is not swallowed by the one before', () => {
  /** @type {Inside<ReturnType<typeof chunk>>} */ const inside = new Inside();
  inside.put(chunk(9000, 1));
  inside.put(chunk(0, 2));
  assert.deepEqual(out(inside, 9000, 0), [9000, 0]);
  assert.equal(inside.swallowed, 0);
});

test('what is cleared is counted by whoever clears, and cannot come out', () => {
  const inside = filled(0, 120, 40);
  assert.equal(inside.clear(), 3);
  assert.deepEqual(out(inside, 0), [null]);
  assert.deepEqual([inside.count, inside.swallowed, inside.outOfOrder], [0, 0, 0]);
});

test('the memory of swallowed pictures has a bound', () => {
  const inside = filled(...Array.from({ length: 100 }, (_, i) => i));
  assert.deepEqual(out(inside, 99, 98, 0), [99, null, null]);
  assert.deepEqual([inside.swallowed, inside.outOfOrder], [99, 1]);
});

test('what is of another instance neither overtakes what was before nor is overtaken by it', () => {
  const inside = filled(960, 1000, 1040);
  inside.part();
  inside.put(chunk(990, 0)); // its groups are counted anew, and it is a little behind
  inside.put(chunk(1030, 0));
  assert.deepEqual(out(inside, 1000, 1040), [1000, 1040]);
  assert.deepEqual([inside.count, inside.swallowed, inside.last?.frame.ptsUs], [2, 1, 1030], 'only its own kind is overtaken');
  assert.deepEqual(out(inside, 990, 1030), [990, 1030]);
  assert.deepEqual([inside.count, inside.swallowed, inside.outOfOrder], [0, 1, 0]);
});

test('what is of the instance before does not come any more when one of the next has come', () => {
  const inside = filled(960, 1000);
  inside.part();
  inside.put(chunk(1010));
  assert.deepEqual(out(inside, 1010, 960), [1010, null]);
  assert.deepEqual([inside.count, inside.swallowed], [0, 2]);
  inside.put(chunk(1050));
  inside.part();
  assert.equal(inside.clear(), 1);
});
