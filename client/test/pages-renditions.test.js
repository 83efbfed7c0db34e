import assert from 'node:assert/strict';
import { test } from 'node:test';
import { barShare } from '../src/pages/meters.js';
import { renditionName, renditionNames, reorderWords } from '../src/pages/renditions.js';

const plain = (/** @type {string | undefined} */ text) => text?.replaceAll('\u00a0', ' ');
const of = (/** @type {object} */ fields = {}) => ({
  id: 0, codec: 'avc1.640028', bitrate_bps: 6e6, width: 1920, height: 1080, fps: 30, sample_rate: 0, channels: 0, ...fields,
});

test('a rendition is called by its lines and its rate, the source by its codec', () => {
  assert.equal(plain(renditionName(of())), '1080p · 6 Mbit/s');
  assert.equal(plain(renditionName(of({ fps: 59.94, bitrate_bps: 1_500_000, height: 720, width: 1280 }))), '720p60 · 1.5 Mbit/s');
  assert.equal(plain(renditionName(of({ width: 1080, height: 1920 }))), '1080p · 6 Mbit/s');
  assert.equal(plain(renditionName(of({ forwarded: true, codec: 'hvc1.1.6.L120.90', fps: 25 }))), 'source · HEVC 1080p');
  assert.equal(plain(renditionName(of({ forwarded: true, width: 0, height: 0 }))), 'source · H.264');
  assert.equal(plain(renditionName(of({ bitrate_bps: 0 }))), '1080p · H.264');
});

test('names can be told apart', () => {
  const names = renditionNames([of(), of({ id: 3, codec: 'av01.0.08M.08' }), of({ id: 4, bitrate_bps: 800_000 })]);
  assert.deepEqual([...names].map(([id, name]) => [id, plain(name)]),
    [[0, '1080p · 6 Mbit/s · H.264'], [3, '1080p · 6 Mbit/s · AV1'], [4, '1080p · 800 kbit/s']]);
});

test('what B-frames cost is said where there are some', () => {
  assert.equal(reorderWords(0, 0), '');
  assert.equal(plain(reorderWords(2, 80)), 'shown out of order by up to 2 pictures: +80 ms');
  assert.equal(plain(reorderWords(1, 16.7)), 'shown out of order by up to 1 picture: +17 ms');
});

test('a level bar shows decibels', () => {
  assert.deepEqual([0, 1e-6, 0.001, 1, 2].map(barShare), [0, 0, 0, 1, 1]);
  assert.ok(Math.abs(barShare(0.1) - 2 / 3) < 1e-9, '-20 dB of 60');
});
