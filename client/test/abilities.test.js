import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepAbilities, knownAbilities } from '../src/main/abilities.js';
import { abilityName, decodable, isAbilities } from '../src/media/abilities.js';
import { PROBES } from '../src/media/probes.js';

test('codec strings have the names that the gateway gives them', () => {
  const names = {
    'avc1.42C01F': 'avc1', 'avc3.64001f': 'avc1', 'avc1.6E0028': 'avc1.6E', 'avc1.f4000b': 'avc1.F4',
    'hvc1.1.6.L93.90': 'hvc1', 'hev1.2.4.L120.B0': 'hvc1.2', 'hvc1.A4.10.L30.9E.8': 'hvc1.4', 'hvc1.3.E.L30.90': 'hvc1',
    'av01.0.04M.08': 'av01', 'av01.0.04M.10': 'av01.0.10', 'av01.1.04M.08': 'av01.1.08',
    'vp09.00.31.08': 'vp09', 'vp09.01.10.08.03': 'vp09.01', 'vp09.02.10.10': 'vp09.02', opus: 'opus', 'mp4a.40.2': 'mp4a', 'mp4a.40.29': 'mp4a.40.29', 'made.up': 'made',
  };
  for (const [codec, name] of Object.entries(names)) assert.equal(abilityName(codec), name, codec);
});

test('each probe stands under its own name', () => {
  for (const [name, { codec }] of Object.entries(PROBES)) assert.equal(abilityName(codec), name);
});

test('a rendition is decodable up to the largest picture and rate', () => {
  const able = 'avc1:1920x1080@60,vp09.01,opus';
  const avc = { codec: 'avc1.640028', width: 1920, height: 1080, fps: 59.94 };
  assert.ok(decodable(able, avc));
  assert.ok(decodable(able, { ...avc, width: 1080, height: 1920, fps: 60 }));
  assert.ok(!decodable(able, { ...avc, width: 3840, height: 2160 }));
  assert.ok(!decodable(able, { ...avc, fps: 120 }));
  assert.ok(!decodable(able, { ...avc, codec: 'avc1.6E0028' }));
  assert.ok(decodable(able, { codec: 'vp09.01.51.08', width: 7680, height: 4320, fps: 120 }));
  assert.ok(!decodable(able, { codec: 'vp09.00.10.08' }));
});

test('where nothing is known, H.264 and Opus are taken for sure', () => {
  assert.ok(decodable('', { codec: 'avc1.42C01F', width: 7680, height: 4320 }));
  assert.ok(decodable('', { codec: 'opus' }));
  assert.ok(!decodable('', { codec: 'av01.0.04M.08' }));
});

test('only what fits into an address is taken for abilities', () => {
  assert.ok(isAbilities('avc1:3840x2160@60,av01.0.10,opus'));
  for (const bad of ['', 'a&b=c', 'a b', 'é', 'x'.repeat(513), null, 7]) assert.ok(!isAbilities(bad), String(bad));
});

/** What a page can keep. */
function storage() {
  /** @type {Map<string, string>} */ const kept = new Map();
  return {
    kept,
    getItem: (/** @type {string} */ key) => kept.get(key) ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void kept.set(key, value),
  };
}

const DAY = 24 * 3600e3;

test('what was proven is known at the next visit, for a week, and proven again after a day', () => {
  const place = storage();
  assert.deepEqual(knownAbilities(place, 'B/1', 0), { codecs: '', stale: true });
  keepAbilities('avc1,opus', place, 'B/1', 1000);
  assert.deepEqual(knownAbilities(place, 'B/1', 1000), { codecs: 'avc1,opus', stale: false });
  assert.deepEqual(knownAbilities(place, 'B/1', 1001 + DAY), { codecs: 'avc1,opus', stale: true });
  assert.deepEqual(knownAbilities(place, 'B/1', 1000 + 7 * DAY), { codecs: '', stale: true });
});

test('another browser, another clock, and what is not ours, are not believed', () => {
  const place = storage();
  keepAbilities('avc1,opus', place, 'B/1', 1000);
  assert.equal(knownAbilities(place, 'B/2', 1000).codecs, '');
  assert.equal(knownAbilities(place, 'B/1', 999).codecs, '');
  const [[key, text] = ['', '']] = place.kept;
  for (const other of [text.replace('"proof":2', '"proof":1'), text.replace('avc1,opus', 'avc1&x=1'), 'null', '{', '[]', '7']) {
    place.kept.set(key, other);
    assert.deepEqual(knownAbilities(place, 'B/1', 1000), { codecs: '', stale: true }, other);
  }
});

test('a page that may keep nothing works', () => {
  const closed = { getItem: () => { throw new Error('no'); }, setItem: () => { throw new Error('no'); } };
  assert.equal(knownAbilities(closed, 'B/1', 0).codecs, '');
  keepAbilities('avc1', closed, 'B/1', 0);
  assert.equal(knownAbilities(null, 'B/1', 0).codecs, '');
});
