/** What the player says to the gateway of renditions and abilities, and what it says to the page. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Viewing } from '../src/worker/viewing.js';

/** @typedef {import('../src/types.js').Catalog} Catalog */

const ABLE = 'avc1:1920x1080@60,vp09,opus';
const AVC = { id: 0, codec: 'avc1.640028', width: 1280, height: 720, fps: 30 };
const HEVC = { id: 1, codec: 'hvc1.1.6.L93.90', width: 1920, height: 1080, fps: 25, forwarded: true, reorder_frames: 2 };
const VP9 = { id: 2, codec: 'vp09.00.31.08', width: 1280, height: 720, fps: 30 };
const SOUND = { id: 1, kind: 'audio', renditions: [{ id: 0, codec: 'opus' }] };

/** @param {object[]} renditions @param {object[]} others @returns {Catalog} */
const catalog = (renditions, ...others) => /** @type {any} */ ({ revision: 1, tracks: [{ id: 0, kind: 'video', renditions }, ...others] });

/** @type {Parameters<Viewing['start']>[0]} */
const START = { codecs: '', prove: true, picture: true };

/** @param {{proof?: () => Promise<string>, start?: typeof START}} [options] */
function begun({ proof = async () => ABLE, start = START } = {}) {
  const log = { posted: /** @type {any[]} */ ([]), sent: /** @type {any[]} */ ([]), gaveUp: /** @type {string[]} */ ([]), proofs: 0 };
  const viewing = new Viewing({
    post: (message) => log.posted.push(message), send: (message) => log.sent.push(message), giveUp: (why) => log.gaveUp.push(why),
  }, () => {
    log.proofs++;
    return proof();
  });
  viewing.start(start);
  viewing.newSession();
  return { viewing, log };
}

const settled = () => new Promise((resolve) => { setImmediate(resolve); });

test('nothing is proven before the first picture where H.264 is on offer', async () => {
  const { viewing, log } = begun();
  viewing.setCatalog(catalog([AVC, HEVC], SOUND));
  await settled();
  assert.deepEqual([log.proofs, log.sent, log.posted], [0, [], []]);
  viewing.pictureShown();
  await settled();
  assert.deepEqual(log.sent, [{ kind: 'abilities', codecs: ABLE }]);
  assert.deepEqual(log.posted, [{ type: 'abilities', codecs: ABLE }]);
  viewing.pictureShown();
  assert.equal(log.proofs, 1);
});

test('what is known from an earlier visit needs no proof', async () => {
  const { viewing, log } = begun({ start: { codecs: ABLE, prove: false, picture: true } });
  assert.equal(viewing.codecs, ABLE);
  viewing.setCatalog(catalog([VP9]));
  viewing.pictureShown();
  await settled();
  assert.deepEqual([log.proofs, log.gaveUp, log.posted], [0, [], []]);
});

test('without H.264 on offer it is proven at once, and the player goes on when it can', async () => {
  const { viewing, log } = begun();
  viewing.setCatalog(catalog([VP9]));
  await settled();
  assert.deepEqual([log.proofs, log.gaveUp], [1, []]);
  assert.equal(viewing.codecs, ABLE);
});

test('what cannot be decoded is given up in words, but not without a proof of today', async () => {
  const { viewing, log } = begun({ start: { codecs: 'avc1,opus', prove: false, picture: true } });
  viewing.setCatalog(catalog([HEVC]));
  await settled();
  assert.equal(log.proofs, 1);
  assert.match(log.gaveUp[0] ?? '', /cannot decode HEVC/);
});

test('with sound to play the player goes on with it, and says why', async () => {
  const { viewing, log } = begun();
  viewing.setCatalog(catalog([HEVC], SOUND));
  await settled();
  assert.deepEqual(log.gaveUp, []);
  const { on, message } = log.posted.find(({ type }) => type === 'picture');
  assert.equal(on, false);
  assert.match(message, /cannot decode HEVC.*\. The sound goes on\.$/);
  assert.equal(viewing.expectsPicture, false);
  viewing.setCatalog(catalog([AVC], SOUND));
  assert.deepEqual(log.posted.at(-1), { type: 'picture', on: true, message: '' });
});

test('a proof that cannot be had is no verdict, and another session tries again', async () => {
  let fails = true;
  const { viewing, log } = begun({ proof: async () => {
    if (fails) throw new Error('offline');
    return ABLE;
  } });
  viewing.setCatalog(catalog([HEVC]));
  await settled();
  assert.deepEqual([log.gaveUp, log.sent], [[], []]);
  fails = false;
  viewing.newSession();
  viewing.setCatalog(catalog([HEVC]));
  await settled();
  assert.deepEqual([log.proofs, log.gaveUp.length], [2, 1]);
});

test('a decoder that fails before any picture lets the abilities be proven', async () => {
  const { viewing, log } = begun({ proof: async () => 'vp09,opus' });
  viewing.setCatalog(catalog([AVC, VP9]));
  viewing.failed();
  await settled();
  assert.deepEqual(log.sent, [{ kind: 'abilities', codecs: 'vp09,opus' }]);
  viewing.failed();
  assert.equal(log.proofs, 1);
});

const wished = (/** @type {number} */ rendition) => ({ kind: 'subscribe', track: 0, rendition, delivery: 'auto', deadline_ms: 0 });

test('a wish is said at once, and again in the next session', () => {
  const { viewing, log } = begun();
  viewing.wish(1);
  assert.deepEqual(log.sent, []);
  viewing.setCatalog(catalog([AVC, HEVC]));
  assert.deepEqual(log.sent, [wished(1)]);
  viewing.setCatalog(catalog([AVC, HEVC, VP9]));
  assert.equal(log.sent.length, 1, 'a new catalog in the same session changes nothing');
  viewing.newSession();
  viewing.setCatalog(catalog([AVC, HEVC]));
  assert.deepEqual(log.sent.slice(1), [wished(1)]);
  viewing.wish(-1);
  assert.deepEqual(log.sent.at(-1), wished(-1));
});

test('a wish for what this session does not offer leaves the choice to the gateway', () => {
  const { viewing, log } = begun();
  viewing.setCatalog(catalog([AVC]));
  viewing.wish(7);
  assert.deepEqual(log.sent, [wished(-1)]);
  viewing.setCatalog(catalog([AVC, { ...VP9, id: 7 }]));
  assert.deepEqual(log.sent.at(-1), wished(7));
});

test('what the gateway sends is told to the page, and what it costs', () => {
  const { viewing, log } = begun();
  viewing.setCatalog(catalog([AVC, HEVC], SOUND));
  assert.deepEqual(viewing.stats(40_000), { delivery: 'auto', rendition: -1, forwarded: false, reorderFrames: 0, reorderMs: 0 });
  viewing.subscribed({ kind: 'subscribed', track: 1, rendition: 0, delivery: 'stream' });
  assert.deepEqual(log.posted, []);
  viewing.subscribed({ kind: 'subscribed', track: 0, rendition: 1, delivery: 'stream' });
  assert.deepEqual(log.posted, [{ type: 'rendition', id: 1 }]);
  assert.deepEqual(viewing.stats(0), { delivery: 'stream', rendition: 1, forwarded: true, reorderFrames: 2, reorderMs: 80 });
});

test('sound only: the picture is no longer sent, until it is wanted again', () => {
  const { viewing, log } = begun();
  viewing.setCatalog(catalog([AVC, HEVC], SOUND));
  viewing.wish(1);
  log.sent.length = 0;
  viewing.setPicture(false);
  assert.deepEqual(log.sent, [{ kind: 'unsubscribe', track: 0 }]);
  assert.deepEqual(log.posted, [{ type: 'rendition', id: -1 }, { type: 'picture', on: false, message: '' }]);
  viewing.wish(0);
  assert.equal(log.sent.length, 1, 'a wish waits');
  viewing.setPicture(true);
  assert.deepEqual(log.sent.at(-1), wished(0));
  assert.deepEqual(log.posted.at(-1), { type: 'picture', on: true, message: '' });
});

test('a broadcast without a picture says so; one that has not told its tracks does not', () => {
  const { viewing, log } = begun();
  viewing.setCatalog({ revision: 1, tracks: [] });
  assert.deepEqual(log.posted, []);
  viewing.setCatalog(/** @type {any} */ ({ revision: 2, tracks: [SOUND] }));
  assert.deepEqual(log.posted, [{ type: 'picture', on: false, message: '' }]);
});

test('how frames are to travel is said with every wish, and told as the gateway has it', () => {
  const { viewing, log } = begun({ start: { ...START, delivery: 'datagram', deadlineMs: 200 } });
  assert.deepEqual([viewing.delivered, viewing.deadlineUs], ['datagram', 200_000]);
  viewing.setCatalog(catalog([AVC, HEVC], SOUND));
  assert.deepEqual(log.sent, [], 'the CONNECT has said it');
  viewing.subscribed({ kind: 'subscribed', track: 1, rendition: 0, delivery: 'stream' });
  assert.equal(viewing.delivered, 'stream');
  viewing.wish(1);
  assert.deepEqual(log.sent, [{ kind: 'subscribe', track: 0, rendition: 1, delivery: 'datagram', deadline_ms: 200 }]);
  viewing.newSession();
  assert.equal(viewing.delivered, 'datagram');
});

test('without datagrams streams are asked for, once the tracks are known, and by the next CONNECT', () => {
  const { viewing, log } = begun();
  assert.equal(viewing.deadlineUs, 500_000);
  viewing.useStreams();
  assert.deepEqual(log.sent, []);
  viewing.setCatalog(catalog([AVC], SOUND));
  const how = { kind: 'subscribe', rendition: -1, delivery: 'stream', deadline_ms: 0 };
  assert.deepEqual(log.sent, [{ ...how, track: 0 }, { ...how, track: 1 }]);
  viewing.useStreams();
  viewing.setCatalog(catalog([AVC, VP9], SOUND));
  viewing.newSession();
  viewing.setCatalog(catalog([AVC], SOUND));
  assert.equal(log.sent.length, 2, 'it is said once');
});

test('where only the sound is wanted only its delivery changes', () => {
  const { viewing, log } = begun({ start: { ...START, picture: false } });
  viewing.setCatalog(catalog([AVC], SOUND));
  viewing.useStreams();
  assert.deepEqual(log.sent, [{ kind: 'subscribe', track: 1, rendition: -1, delivery: 'stream', deadline_ms: 0 }]);
});
