import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeHashes, openTransport } from '../src/worker/transport.js';
import { afterEnd, afterFailedConnect, broadcastWords, undecodable } from '../src/worker/words.js';

test('a lost connection is mended at once', () => {
  const next = afterEnd({ code: 0, reason: 'Connection lost.', clean: false }, null);
  assert.deepEqual([next.state, next.leastMs, next.final], ['reconnecting', 0, false]);
  assert.match(next.why, /lost/);
});

test('close codes: what to do, and what the gateway said', () => {
  const restart = afterEnd({ code: 1, reason: '', clean: true }, { reason: 'maintenance', retry_after_ms: 700 });
  assert.deepEqual([restart.state, restart.leastMs, restart.final], ['reconnecting', 700, false]);
  assert.match(restart.why, /restarting \(maintenance\)/);
  assert.equal(afterEnd({ code: 0x12, reason: '', clean: true }, null).final, true);
  assert.equal(afterEnd({ code: 0x14, reason: '', clean: true }, null).leastMs, 5000);
  assert.equal(afterEnd({ code: 0x20, reason: '', clean: true }, null).state, 'waiting');
  assert.match(afterEnd({ code: 999, reason: '', clean: true }, null).why, /999/);
});

test('a goodbye for ever is the end', () => {
  const next = afterEnd({ code: 0, reason: '', clean: true }, { reason: 'banned', retry_after_ms: -1 });
  assert.deepEqual([next.state, next.final], ['failed', true]);
});

test('why a CONNECT failed is told by what still answers', () => {
  assert.match(afterFailedConnect('cam', null, 'x').why, /does not answer/);
  const missing = afterFailedConnect('cam', ['test'], 'x');
  assert.equal(missing.state, 'waiting');
  assert.match(missing.why, /no broadcast “cam”/);
  assert.match(afterFailedConnect('cam', ['cam'], 'x').why, /UDP/);
});

test('states of a broadcast in words; live needs none', () => {
  assert.equal(broadcastWords({ state: 'live' }), null);
  assert.equal(broadcastWords({ state: 'retrying', reason: 'refused', retry_in_ms: 1500 }), 'The source is away: refused; trying again in 2 s.');
  for (const state of ['idle', 'connecting', 'ended']) assert.ok(broadcastWords({ state }));
});

const A = { algorithm: 'sha-256', value: btoa('a'.repeat(32)) };
const B = { algorithm: 'sha-256', value: Uint8Array.from({ length: 32 }, () => 98) };

test('hashes of the API and of the control stream are merged, each once', () => {
  const same = { algorithm: 'sha-256', value: new TextEncoder().encode('a'.repeat(32)) };
  assert.equal(mergeHashes([A], [same, B]).length, 2);
  assert.equal(mergeHashes([], [B]).length, 1);
});

test('the CONNECT carries the subscription, and hashes only where there are some', () => {
  /** @type {any[]} */ const made = [];
  Object.assign(globalThis, { WebTransport: class {
    datagrams = { incomingHighWaterMark: 1 };

    constructor(/** @type {any[]} */ ...args) { made.push(args); }
  } });
  const { datagrams } = openTransport({ url: 'https://host:4433/', certificateHashes: [A, B] }, 'cams/front door');
  assert.ok(datagrams.incomingHighWaterMark >= 1000, 'what comes before somebody reads is kept');
  openTransport({ url: 'https://host:4433', certificateHashes: [] }, 'test');
  assert.equal(made[0][0], 'https://host:4433/cams/front%20door?v=1&subscribe=video,audio&delivery=auto');
  assert.deepEqual(made[0][1].serverCertificateHashes.map((/** @type {any} */ h) => h.value.length), [32, 32]);
  assert.equal(made[0][1].congestionControl, 'low-latency');
  assert.equal('serverCertificateHashes' in made[1][1], false);
  openTransport({ url: 'https://host', certificateHashes: [] }, 'test', {
    codecs: 'avc1:1920x1080@60,opus', picture: false, delivery: 'datagram', deadlineMs: 250,
  });
  assert.equal(made[2][0], 'https://host/test?v=1&subscribe=audio&delivery=datagram&deadline=250&codecs=avc1:1920x1080@60,opus');
});

test('codecs that cannot be decoded have names', () => {
  assert.match(undecodable(['hvc1.1.6.L93.90', 'hev1.1.6.L93.90', 'av01.0.04M.08']), /cannot decode HEVC or AV1,/);
  assert.match(undecodable(['odd.1']), /cannot decode odd\.1,/);
});
