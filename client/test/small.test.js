import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backoff } from '../src/media/backoff.js';
import { codecFromAnnexB, isAnnexB } from '../src/media/h264.js';
import { AudioNeed, Jitter, Steering } from '../src/media/jitter.js';
import { percentile, Rate, Recent, Window } from '../src/media/statistics.js';
import { turnedScale } from '../src/main/surface.js';
import { checkSupport } from '../src/support.js';
import { Gap } from '../src/worker/gap.js';
import { fromHex } from './vectors.js';

test('back-off grows to its limit, is jittered, and starts over', () => {
  const backoff = new Backoff({ firstMs: 100, factor: 2, maxMs: 1000, random: () => 1 });
  assert.deepEqual(Array.from({ length: 6 }, () => backoff.next()), [100, 200, 400, 800, 1000, 1000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
  assert.equal(new Backoff({ firstMs: 100, random: () => 0 }).next(), 50);
  assert.equal(new Backoff({ firstMs: 100 }).next(5000), 5000);
});

test('the codec string is that of the SPS', () => {
  assert.equal(codecFromAnnexB(fromHex('000000016742c01fda01')), 'avc1.42C01F');
  assert.equal(codecFromAnnexB(fromHex('0000000109f000000001674d4028da01')), 'avc1.4D4028');
  assert.equal(codecFromAnnexB(fromHex('00000001419a2233445566778899')), null);
  assert.equal(codecFromAnnexB(new Uint8Array(3)), null);
  assert.ok(isAnnexB(fromHex('0000000167')) && isAnnexB(fromHex('0000016742')));
  assert.ok(!isAnnexB(fromHex('fc00000167')));
});

test('percentiles', () => {
  assert.equal(percentile([], 0.5), 0);
  assert.equal(percentile([1, 2, 3, 4], 0.5), 3);
  assert.equal(percentile([1, 2, 3, 4], 1), 4);
});

test('a window forgets what is old and what is too much', () => {
  const window = new Window(1000, 4);
  for (let i = 0; i < 500; i++) window.add(i, i * 10);
  assert.equal(window.count, 4);
  assert.equal(window.percentile(0), 496);
  assert.equal(window.last, 499);
  window.add(7, 1e6);
  assert.equal(window.percentile(0.5), 7);
  window.clear();
  assert.equal(window.percentile(0.5), 0);
});

test('a rate covers its window only', () => {
  const rate = new Rate();
  for (let ms = 0; ms < 2000; ms += 10) rate.add(5, ms);
  assert.ok(Math.abs(rate.perSecond(2000) - 500) <= 15);
  assert.equal(rate.perSecond(5000), 0);
});

test('recent items are bounded', () => {
  const recent = new Recent(3);
  for (let i = 0; i < 100; i++) recent.push(i);
  assert.deepEqual(recent.list(), [97, 98, 99]);
});

test('jitter follows RFC 3550', () => {
  const jitter = new Jitter();
  jitter.add(100);
  jitter.add(116);
  assert.equal(jitter.value, 1);
});

test('sound needs the delay of nearly all packets, and a margin that learns', () => {
  const need = new AudioNeed();
  for (let i = 0; i < 200; i++) need.add(i % 50 === 0 ? 90_000 : 10_000, i * 20_000);
  const calm = need.delayUs;
  assert.equal(calm, 10_000 + need.marginUs);
  need.underrun(4_000_000);
  assert.ok(need.delayUs > calm);
  const after = need.marginUs;
  for (let i = 0; i < 1000; i++) need.add(10_000, 4_000_000 + i * 20_000);
  assert.ok(need.marginUs < after);
});

test('steering: nothing when near, a little when off, a stretch until it fits when further off, a jump when far', () => {
  const judged = (/** @type {number} */ error, mayHold = true, steering = new Steering()) => steering.judge(50_000 + error, 50_000, mayHold);
  assert.deepEqual(judged(1_000), { ratePpm: 0, jumpUs: 0 });
  assert.deepEqual([judged(6_000).ratePpm, judged(-6_000).ratePpm], [2_000, -2_000]);
  assert.deepEqual([judged(50_000).ratePpm, judged(-50_000).ratePpm], [50_000, -50_000]);
  assert.deepEqual([judged(600_000).ratePpm, judged(-600_000).ratePpm], [250_000, -200_000]);
  assert.deepEqual(judged(900_000, false), { ratePpm: 0, jumpUs: 900_000 });
  assert.deepEqual(judged(-900_000), { ratePpm: 0, jumpUs: -900_000 });
  assert.deepEqual(judged(-900_000, false), { ratePpm: -200_000, jumpUs: 0 });
  const steering = new Steering();
  judged(12_000, true, steering);
  assert.equal(judged(5_000, true, steering).ratePpm, 5_000, 'it goes on until it fits');
  assert.equal(judged(1_500, true, steering).ratePpm, 0);
  assert.ok(judged(5_000, true, steering).ratePpm <= 2_000);
});

test('support: each missing part is named with what to do', () => {
  const all = { isSecureContext: true, WebTransport: 1, VideoDecoder: 1, AudioDecoder: 1, Worker: 1, AudioWorkletNode: 1 };
  assert.deepEqual(checkSupport(all), { ok: true, missing: [] });
  assert.equal(checkSupport({ ...all, WebTransport: undefined }).ok, true, 'a WebSocket does');
  const without = checkSupport({ ...all, VideoDecoder: undefined });
  assert.equal(without.ok, false);
  assert.deepEqual(without.missing.map((m) => m.what), ['VideoDecoder']);
  const insecure = checkSupport({ isSecureContext: false, location: { host: 'box:8080' } });
  assert.deepEqual(insecure.missing.map((m) => m.what), ['a secure page']);
  assert.match(insecure.missing[0]?.why ?? '', /box:8080/);
});

test('a picture that is turned in its box fills it as well as it can', () => {
  const upright = { width: 720, height: 1280 };
  assert.equal(turnedScale({ width: 1280, height: 720 }, upright), 720 / 1280, 'it filled the box lying');
  assert.equal(turnedScale({ width: 720, height: 1280 }, upright), 1280 / 720, 'it fills the box standing');
  assert.equal(turnedScale({ width: 500, height: 500 }, upright), 1);
  assert.equal(turnedScale({ width: 0, height: 500 }, upright), 1);
});

test('the gap around a change is the longest time without a picture', () => {
  const gap = new Gap();
  gap.paint(0);
  gap.paint(40_000);
  assert.equal(gap.us, 0, 'nothing has changed');
  gap.around(290_000); // silence
  gap.paint(60_000); // that was held
  gap.around(1_500_000); // and another session, later
  gap.paint(1_540_000);
  gap.paint(1_580_000);
  assert.equal(gap.us, 1_480_000);
  gap.paint(4_000_000);
  assert.equal(gap.us, 2_420_000, 'it began within a second of it');
  gap.paint(9_000_000);
  assert.equal(gap.us, 2_420_000, 'and this is another matter');
  gap.around(9_020_000);
  gap.paint(9_030_000);
  assert.equal(gap.us, 30_000, 'each change is measured by itself');
});
