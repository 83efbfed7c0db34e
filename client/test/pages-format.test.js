import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../src/pages/format.js';

test('milliseconds have one decimal below ten, and nothing is said of what is not known', () => {
  assert.equal(format.formatMs(0), '0.0\u00a0ms');
  assert.equal(format.formatMs(3.14159), '3.1\u00a0ms');
  assert.equal(format.formatMs(9.96), '10\u00a0ms');
  assert.equal(format.formatMs(-12.4), '-12\u00a0ms');
  assert.equal(format.formatMs(-0.01), '0.0\u00a0ms');
  for (const unknown of [NaN, Infinity, null, undefined]) assert.equal(format.formatMs(unknown), '–');
});

test('parts in a million are percent', () => {
  assert.equal(format.formatShare(21_400), '2.1\u00a0%');
  assert.equal(format.formatShare(1_020_000), '102\u00a0%');
  assert.equal(format.formatShare(-100), '0.0\u00a0%');
  assert.equal(format.formatShare(NaN), '–');
});

test('bit rates choose their unit', () => {
  assert.equal(format.formatBitrate(0), '0\u00a0kbit/s');
  assert.equal(format.formatBitrate(127_600), '128\u00a0kbit/s');
  assert.equal(format.formatBitrate(999_499), '999\u00a0kbit/s');
  assert.equal(format.formatBitrate(999_500), '1.0\u00a0Mbit/s');
  assert.equal(format.formatBitrate(4_123_456), '4.1\u00a0Mbit/s');
  assert.equal(format.formatBitrate(24_600_000), '25\u00a0Mbit/s');
  assert.equal(format.formatBitrate(-1), '–');
});

test('frame rates lose needless zeros only', () => {
  assert.equal(format.formatFps(30), '30\u00a0fps');
  assert.equal(format.formatFps(29.97), '29.97\u00a0fps');
  assert.equal(format.formatFps(100), '100\u00a0fps');
  assert.equal(format.formatFps(0), '0\u00a0fps');
  assert.equal(format.formatFps(undefined), '–');
});

test('counts are grouped with thin spaces', () => {
  assert.equal(format.formatCount(0), '0');
  assert.equal(format.formatCount(1_234_567), '1\u202f234\u202f567');
  assert.equal(format.formatCount(NaN), '–');
});

test('sizes need both sides', () => {
  assert.equal(format.formatSize(1280, 720), '1280 × 720');
  assert.equal(format.formatSize(0, 720), '–');
});

test('codecs are called by their names', () => {
  assert.equal(format.codecName('avc1.42E01F'), 'H.264 Baseline 3.1');
  assert.equal(format.codecName('avc1.640028'), 'H.264 High 4.0');
  assert.equal(format.codecName('avc1.7A0028'), 'H.264 profile 7A 4.0');
  assert.equal(format.codecName('opus'), 'Opus');
  assert.equal(format.codecName('av01.0.04M.08'), 'AV1');
  assert.equal(format.codecName('new.1'), 'new.1');
  assert.equal(format.codecName(''), '–');
  assert.equal(format.codecFamily('avc3.42E01F'), 'H.264');
});

test('channels and seconds', () => {
  assert.deepEqual([0, 1, 2, 6, 4].map(format.channelName), ['', 'mono', 'stereo', '5.1', '4 channels']);
  assert.deepEqual([1, 1000, 1001, 59_500].map(format.secondsLeft), ['1\u00a0s', '1\u00a0s', '2\u00a0s', '60\u00a0s']);
});
