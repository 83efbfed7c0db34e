/** One session over a transport that is made of streams of the test's own. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pack } from '../src/media/messages.js';
import { encodeFrame } from '../src/media/wire.js';
import { Session } from '../src/worker/session.js';
import { fromHex, vectors } from './vectors.js';

const LONE = fromHex(vectors('fragments').find(({ name }) => name === 'a lone fragment').fragments[0]);
const MALFORMED = fromHex(vectors('malformed').find(({ name }) => name === 'no pieces at all').hex);

/** @returns {{readable: ReadableStream<any>, put: (value: any) => void, reset: (error: unknown) => void, end: () => void}} */
function source() {
  /** @type {any} */ let controller;
  const readable = new ReadableStream({ start(made) { controller = made; } });
  return { readable, put: (value) => controller.enqueue(value), reset: (error) => controller.error(error), end: () => controller.close() };
}

/** @param {{wanted?: boolean, maxDatagramSize?: number, ready?: Promise<void>}} [options] */
function begun({ wanted = true, maxDatagramSize = 1024, ready = Promise.resolve() } = {}) {
  const [datagrams, streams, control] = [source(), source(), source()];
  /** @type {any[]} */ const told = [];
  /** @type {(() => void)[]} */ const waiting = [];
  const tell = (/** @type {string} */ what) => (/** @type {any} */ value) => {
    told.push([what, value]);
    for (const wake of waiting.splice(0)) wake();
  };
  const link = {
    wanted, deadlineUs: 500_000, reports: () => true, rttUs: () => 20_000, clockOffsetUs: () => null,
    counters: { datagramsReceived: 0, fragmentsReceived: 0, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 0 },
  };
  /** @type {any} */ let closedWith = null;
  let [closed, lose] = [(/** @type {any} */ _) => {}, (/** @type {Error} */ _) => {}];
  const session = new Session(/** @type {any} */ ({
    ready,
    closed: new Promise((resolve, reject) => { [closed, lose] = [resolve, reject]; }),
    close: (/** @type {any} */ info) => closed(closedWith = info),
    incomingUnidirectionalStreams: streams.readable,
    incomingBidirectionalStreams: control.readable,
    datagrams: { maxDatagramSize, readable: datagrams.readable, writable: new WritableStream() },
  }), {
    frame: tell('frame'), coming: tell('coming'), lost: tell('lost'), message: tell('message'), bytes: () => {}, heard: () => {}, noDatagrams: () => tell('noDatagrams')(null),
  }, link);
  return {
    session, told, datagrams, closedWith: () => closedWith, streams, control, lose, counters: link.counters,
    /** Until it was told so often. @param {string} what @param {number} [count] */
    async heard(what, count = 1) {
      while (told.filter(([name]) => name === what).length < count) await new Promise((resolve) => { waiting.push(() => resolve(undefined)); });
      return told.filter(([name]) => name === what).map(([, value]) => value);
    },
    end: () => {
      datagrams.end();
      session.close(0, '');
    },
  };
}

const FRAME = vectors('frames').map(({ frame: f }) => ({
  track: f.track, rendition: f.rendition, group: f.group, index: 0, keyframe: true, discardable: false, ptsUs: 0, captureUs: 0, durationUs: 0,
  grabbedUs: 0, convertedUs: 0, encodedUs: 0,
}))[0];

/** @param {any} frame @param {number} index */
const objectOf = (frame, index) => encodeFrame({ ...frame, index, payload: new Uint8Array(500).fill(index) });

test('frames come by streams and by datagrams, and what comes both ways counts once', async () => {
  const { heard, datagrams, streams, counters, end } = begun();
  datagrams.put(LONE);
  const [frame] = await heard('frame');
  for (const object of [encodeFrame(frame), objectOf(frame, 50)]) {
    const stream = source();
    streams.put(stream.readable);
    stream.put(object);
    stream.end();
  }
  const frames = await heard('frame', 2);
  assert.deepEqual(frames.map(({ index }) => index), [frame.index, 50]);
  assert.deepEqual([counters.duplicates, counters.datagramsReceived], [1, 1]);
  end();
});

test('what came on streams before datagrams were read is not asked for', async () => {
  let readable = () => {};
  const { heard, datagrams, streams, counters, end } = begun({ ready: new Promise((resolve) => { readable = resolve; }) });
  const stream = source();
  streams.put(stream.readable);
  const frame = { ...FRAME, track: 5 };
  for (const index of [1, 2]) stream.put(objectOf({ ...frame, keyframe: false }, index));
  stream.put(objectOf(frame, 0));
  await heard('frame', 3);
  readable();
  datagrams.put(LONE);
  await heard('frame', 4);
  assert.deepEqual([counters.nacksSent, counters.framesExpired, counters.duplicates], [0, 0, 0]);
  const again = source();
  streams.put(again.readable);
  again.put(objectOf(frame, 0));
  again.put(objectOf(frame, 3));
  assert.deepEqual((await heard('frame', 5)).map(({ index }) => index).slice(-1), [3]);
  assert.equal(counters.duplicates, 1, 'it was remembered');
  end();
});

test('a player that is told goodbye closes the session itself, for the reason that it was told', async () => {
  const { session, heard, control, datagrams, closedWith } = begun();
  const stream = source();
  control.put({ readable: stream.readable, writable: new WritableStream() });
  stream.put(pack({ kind: 'goodbye', code: 0x20, reason: 'removed', retry_after_ms: 2000 }));
  assert.deepEqual(await session.ended, { code: 0x20, reason: 'removed', clean: true });
  const [goodbye] = await heard('message');
  assert.equal(goodbye.retry_after_ms, 2000);
  assert.deepEqual(closedWith(), { closeCode: 0x20, reason: 'removed' });
  datagrams.end();
});

test('a frame that has begun on a stream is coming, and lost when it is reset', async () => {
  const { heard, streams, datagrams, end } = begun();
  datagrams.put(LONE);
  const [frame] = await heard('frame');
  const stream = source();
  streams.put(stream.readable);
  const object = objectOf(frame, 60);
  stream.put(object.subarray(0, 20));
  stream.put(object.subarray(20, 100));
  const [coming] = (await heard('coming')).slice(-1);
  assert.equal(coming.index, 60);
  stream.put(object.subarray(100, 200));
  stream.reset(new Error('reset'));
  assert.deepEqual((await heard('lost')).map(({ index }) => index), [60]);
  end();
});

test('a malformed datagram closes the session, and nothing else is thrown', async () => {
  const { session, datagrams, told } = begun();
  datagrams.put(MALFORMED);
  const { code, reason } = await session.ended;
  assert.equal(code, 0x10);
  assert.match(reason, /does not understand/);
  assert.deepEqual(told, []);
});

test('a transport that breaks ends the session as lost, not as malformed', async () => {
  const { session, datagrams, counters, lose } = begun();
  datagrams.put(LONE);
  while (!counters.datagramsReceived) await new Promise((resolve) => { setImmediate(resolve); });
  datagrams.reset(new DOMException('the network went', 'NetworkError'));
  await new Promise((resolve) => { setImmediate(resolve); });
  lose(new Error('timed out'));
  assert.deepEqual(await session.ended, { code: 0, reason: 'timed out', clean: false });
});

test('a malformed frame on a stream and a malformed message close it likewise', async () => {
  for (const [of, code] of /** @type {const} */ ([['frame', 0x10], ['message', 0x11]])) {
    const { session, streams, control } = begun();
    const stream = source();
    if (of === 'frame') streams.put(stream.readable);
    else control.put({ readable: stream.readable, writable: new WritableStream() });
    stream.put(fromHex(vectors('malformed').find((vector) => vector.of === of && vector.code === code).hex));
    assert.equal((await session.ended).code, code);
  }
});

test('messages are read and written on the control stream', async () => {
  const { session, control, heard, end } = begun();
  const stream = source();
  /** @type {any[]} */ const written = [];
  control.put({ readable: stream.readable, writable: new WritableStream({ write: (bytes) => void written.push(bytes) }) });
  stream.put(pack({ kind: 'state', state: 'live', reason: '', retry_in_ms: 0 }));
  assert.deepEqual((await heard('message')).map(({ state }) => state), ['live']);
  session.send({ kind: 'keyframe', track: 0, reason: 'gap' });
  await new Promise((resolve) => { setImmediate(resolve); });
  assert.deepEqual(written, [pack({ kind: 'keyframe', track: 0, reason: 'gap' })]);
  end();
});

test('a connection without datagrams says so; where none are wanted nobody asks', async () => {
  const without = begun({ maxDatagramSize: 0 });
  await without.heard('noDatagrams');
  without.end();
  const unwanted = begun({ wanted: false, maxDatagramSize: 0 });
  unwanted.datagrams.put(LONE);
  const stream = source();
  unwanted.streams.put(stream.readable);
  stream.put(objectOf(FRAME, 7));
  await unwanted.heard('frame');
  assert.deepEqual([unwanted.told.map(([what]) => what), unwanted.counters.datagramsReceived], [['frame'], 0]);
  unwanted.end();
});
