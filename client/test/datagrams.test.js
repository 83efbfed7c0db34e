/** What the worker does with the datagrams of a session. The transport is made of streams of the test's own. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Datagrams } from '../src/worker/datagrams.js';
import { fromHex, vectors } from './vectors.js';

/** @param {string} file @param {string} name */
const vector = (file, name) => vectors(file).find((one) => one.name === name);
const SEVEN = vector('parity', 'seven pieces');
const LONE = vector('fragments', 'a lone fragment');
const LONE_OF_SOUND = fromHex(LONE.fragments[0]);
const PIECES = SEVEN.fragments.map(fromHex);
const ROWS = SEVEN.parity.map(fromHex);
const OBJECT = fromHex(SEVEN.object);
const NACK = 0x20;
const ARRIVALS = 0x21;

/** @param {{deadlineUs?: number, reports?: boolean, stuck?: boolean, rttUs?: number}} [options] */
function begun({ deadlineUs = 500_000, reports = true, stuck = false, rttUs = 200_000 } = {}) {
  /** @type {any} */ let incoming;
  /** @type {Uint8Array[]} */ const written = [];
  let wrote = () => {};
  const time = { us: 1_000_000_000 }; // stands still until a test moves it
  const told = { frames: /** @type {any[]} */ ([]), coming: /** @type {any[]} */ ([]), lost: /** @type {any[]} */ ([]), bytes: 0, heard: 0 };
  const counters = { datagramsReceived: 0, fragmentsReceived: 0, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 0 };
  let lossHeard = () => {};
  /** @type {Promise<void>} */ const lost = new Promise((resolve) => { lossHeard = resolve; });
  const datagrams = new Datagrams(/** @type {any} */ ({
    maxDatagramSize: 1024,
    readable: new ReadableStream({ start(controller) { incoming = controller; } }, { highWaterMark: 10_000 }),
    writable: new WritableStream({
      write(bytes) {
        written.push(bytes);
        wrote();
        return stuck ? new Promise(() => {}) : undefined;
      },
    }),
  }), { wanted: true, deadlineUs, counters, reports: () => reports, rttUs: () => rttUs, clockOffsetUs: () => null }, {
    frame: (frame) => told.frames.push(frame),
    coming: ({ group, index }) => told.coming.push([group, index]),
    lost: (frame) => {
      told.lost.push(frame);
      lossHeard();
    },
    bytes: (count) => { told.bytes += count; },
  }, () => time.us);
  const reading = datagrams.read(() => { told.heard++; });
  return {
    told, counters, datagrams, written, reading, lost, time,
    /** @param {...Uint8Array} bytes */
    async give(...bytes) {
      for (const one of bytes) incoming.enqueue(one);
      const all = counters.datagramsReceived + bytes.length;
      while (counters.datagramsReceived < all) await new Promise((resolve) => { setImmediate(resolve); });
    },
    /** Until one of that type was written. @param {number} type */
    async sent(type) {
      for (;;) {
        const found = written.find((bytes) => bytes[0] === type);
        if (found) return found;
        await new Promise((resolve) => { wrote = () => resolve(undefined); });
      }
    },
    /** @returns {Promise<void>} */
    end() {
      incoming.close();
      return reading.finally(() => datagrams.close());
    },
  };
}

test('fragments in any order make the frame, once', async () => {
  const { give, told, counters, end } = begun();
  await give(...PIECES.toReversed(), PIECES[2], ROWS[0]);
  const [frame] = told.frames;
  assert.equal(told.frames.length, 1);
  assert.deepEqual(new Uint8Array(frame.payload), OBJECT.subarray(48));
  assert.ok(frame.firstByteUs > 0 && frame.firstByteUs <= frame.arrivalUs);
  assert.deepEqual(told.coming, [[frame.group, frame.index]]);
  assert.deepEqual(counters, {
    datagramsReceived: 9, fragmentsReceived: 8, fragmentsRecovered: 0, nacksSent: 0, framesExpired: 0, duplicates: 2,
  });
  assert.equal(told.heard, 9);
  assert.equal(told.bytes, [...PIECES, PIECES[2], ROWS[0]].reduce((sum, bytes) => sum + bytes.length, 0));
  await end();
});

test('what is missing is asked for by its number', async () => {
  const { give, told, counters, sent, time, end } = begun();
  await give(...PIECES.slice(0, 2), ...PIECES.slice(4));
  time.us += 3_000;
  const nack = await sent(NACK);
  assert.deepEqual([nack[1], nack.length], [1, 16]);
  assert.deepEqual([...nack.subarray(4, 16)], [...PIECES[0].subarray(4, 12), 0, 2, 0, 3]);
  await give(PIECES[2], PIECES[3]);
  assert.equal(told.frames.length, 1);
  assert.equal(counters.nacksSent, 1);
  await end();
});

test('what is due within a few milliseconds is asked for together', async () => {
  const { give, written, time, end } = begun();
  for (let at = 0; at < 40; at++) { // one is missing of each
    const frame = PIECES.map((/** @type {Uint8Array} */ piece) => Uint8Array.from(piece));
    for (const piece of frame) new DataView(piece.buffer).setUint32(8, at);
    await give(...frame.slice(0, 3), ...frame.slice(4));
    time.us += 1_000;
  }
  await end();
  const nacks = written.filter(([type]) => type === NACK);
  assert.ok(nacks.length <= 11, `${nacks.length} in 40 ms`);
  assert.ok(nacks.reduce((sum, [, entries]) => sum + entries, 0) >= 32, 'and nothing is forgotten');
});

test('parity makes up for what is missing, and nothing is asked for', async () => {
  const { give, told, counters, end } = begun();
  await give(ROWS[1], ...PIECES.slice(0, 3), ...PIECES.slice(5), ROWS[2]);
  assert.deepEqual(new Uint8Array(told.frames[0].payload), OBJECT.subarray(48));
  assert.deepEqual([counters.fragmentsReceived, counters.fragmentsRecovered, counters.nacksSent], [5, 2, 0]);
  await end();
});

test('the gateway is told when frames came', async () => {
  const { give, told, sent, datagrams, end } = begun();
  await give(fromHex(LONE.fragments[0]), ...PIECES.slice(0, 3));
  const stream = { ...told.frames[0], index: 77 };
  assert.equal(datagrams.streamed(stream), true);
  const report = Buffer.from(await sent(ARRIVALS));
  const flags = Array.from({ length: report[1] ?? 0 }, (_, i) => [report[13 + 20 * i], report.readUInt32BE(20 + 20 * i)]);
  assert.deepEqual(flags, [[1, told.frames[0].index], [0, 0], [3, 77]]);
  await end();
});

test('a frame that comes both ways counts once', async () => {
  const { give, told, datagrams, counters, end } = begun();
  await give(...PIECES);
  assert.equal(datagrams.streamed({ ...told.frames[0] }), false);
  await give(fromHex(LONE.fragments[0]));
  const other = { ...told.frames[1], index: 1000 };
  assert.equal(datagrams.streamed(other), true);
  assert.deepEqual([told.frames.length, counters.duplicates], [2, 1]);
  await end();
});

test('what comes after its stream is of no use', async () => {
  const { give, told, datagrams, counters, end } = begun();
  const [first] = PIECES;
  const { group, index } = { group: Buffer.from(first).readUInt32BE(4), index: Buffer.from(first).readUInt32BE(8) };
  const frame = /** @type {any} */ ({ track: first[2], rendition: first[3], group, index, captureUs: 0, keyframe: true, payload: new Uint8Array(9), firstByteUs: 1, arrivalUs: 2 });
  datagrams.streaming(frame);
  assert.equal(datagrams.streamed(frame), true);
  await give(...PIECES);
  assert.deepEqual([told.frames, counters.duplicates], [[], 7]);
  await end();
});

test('where all goes on streams nothing is asked for or reported', async () => {
  const { give, datagrams, written, told, time, end } = begun({ reports: false });
  await give(fromHex(LONE.fragments[0]));
  const [frame] = told.frames;
  assert.equal(datagrams.streamed({ ...frame }), true);
  datagrams.streaming({ ...frame, index: frame.index + 9 });
  assert.equal(datagrams.streamed({ ...frame, index: frame.index + 9 }), true);
  time.us += 10_000;
  datagrams.streaming({ ...frame, index: frame.index + 10 });
  await new Promise((resolve) => { setImmediate(resolve); });
  assert.deepEqual(written.filter((bytes) => bytes[0] === NACK), []);
  await end();
});

test('a frame whose deadline is over is given up', async () => {
  const { give, told, counters, datagrams, lost, time, end } = begun({ deadlineUs: 12_000, rttUs: 8_000 });
  await give(...PIECES.slice(0, 3));
  time.us += 12_000;
  await lost;
  const { track, group, index } = told.lost[0];
  assert.deepEqual([told.lost.length, [track, group, index]], [1, [PIECES[0][2], ...told.coming[0]]]);
  assert.equal(counters.framesExpired, 1);
  await give(PIECES[3]);
  assert.equal(counters.duplicates, 1);
  const late = { ...told.lost[0], captureUs: 0, keyframe: true, payload: new Uint8Array(9), firstByteUs: time.us, arrivalUs: time.us };
  assert.equal(datagrams.streamed(late), true, 'it may still be of use to who has nothing else');
  await end();
});

test('padding and what nobody knows is no media, and what is malformed is refused', async () => {
  const { give, told, counters, reading, end } = begun();
  await give(Uint8Array.of(0x1f, 1, 2, 3), Uint8Array.of(0x1f), Uint8Array.of(0x77), new Uint8Array(0));
  assert.deepEqual([told.heard, told.bytes, counters.fragmentsReceived], [4, 0, 0]);
  await end();
  assert.equal(await reading, undefined);
  const malformed = vectors('malformed').filter(({ of }) => of === 'fragment').map(({ hex }) => fromHex(hex));
  for (const bad of malformed.filter(([type]) => type === 0x10 || type === 0x11)) {
    const { give: feed, reading: refused, datagrams } = begun();
    feed(bad).catch(() => {});
    await assert.rejects(refused, (error) => /** @type {any} */ (error).code === 0x10);
    datagrams.close();
  }
});

test('fragments that make another frame than they said are refused', async () => {
  /** @param {(bytes: Uint8Array, number: number) => void} change */
  const changed = (change) => PIECES.map((/** @type {Uint8Array} */ piece, /** @type {number} */ number) => {
    const bytes = Uint8Array.from(piece);
    change(bytes, number);
    return bytes;
  });
  for (const pieces of [
    changed((bytes) => { bytes[11] = 99; }), // index
    changed((bytes, number) => { if (number === 0) bytes[28 + 15] ^= 1; }), // length of the payload
    changed((bytes, number) => { if (number === 0) bytes[28] = 2; }), // type of the object
  ]) {
    const { give, reading, datagrams, told } = begun();
    give(...pieces).catch(() => {});
    await assert.rejects(reading, (error) => /** @type {any} */ (error).code === 0x10);
    assert.deepEqual(told.frames, []);
    datagrams.close();
  }
});

test('a browser that takes no datagrams is not given more and more of them', async () => {
  const outcome = async (/** @type {boolean} */ stuck) => {
    const { datagrams, written, time, end } = begun({ stuck, rttUs: 1000 });
    for (let at = 0; at < 100; at++) {
      const arrivalUs = (time.us += 10_000);
      // Two before it are missing each time: so much later they are asked for.
      datagrams.streamed(/** @type {any} */ ({
        track: 0, rendition: 0, group: 0, index: at * 3, captureUs: 0, keyframe: at === 0, payload: new Uint8Array(9), firstByteUs: arrivalUs, arrivalUs,
      }));
      await new Promise((resolve) => { setImmediate(resolve); });
    }
    await end();
    return { nacks: written.filter(([type]) => type === NACK).length, written: written.length, unsent: datagrams.unsent };
  };
  const free = await outcome(false);
  assert.ok(free.nacks > 90, `${free.nacks}`);
  assert.equal(free.unsent, 0);
  const stuck = await outcome(true);
  assert.equal(stuck.written, 1, 'the others wait in the stream, up to their bound');
  assert.ok(stuck.unsent >= free.nacks - 64, `${stuck.unsent} were given up`);
});

const FOURTH = vector('fragments', 'the last one is shorter').fragments.map(fromHex);
const THIRD = /** @type {any} */ ({ track: 0, rendition: 0, group: 1, index: 2, captureUs: 1_789_999_999_960_000, keyframe: false });

/** Fragments that arrive one after the other, and time for what is missing before them to be missed. @param {ReturnType<typeof begun>} session */
async function arrive({ give, time }) {
  for (const fragment of FOURTH) {
    await give(fragment);
    time.us += 60_000;
  }
}

test('a session that begins in the middle of a group asks for what is before', async () => {
  const session = begun();
  await arrive(session);
  assert.ok(session.counters.nacksSent >= 3, `${session.counters.nacksSent}`);
  await session.end();
});

for (const early of [true, false]) {
  test(`what came in another session is not asked for, told of ${early ? 'before' : 'after'} the first fragment`, async () => {
    const session = begun();
    if (early) session.datagrams.known([THIRD]);
    const [first, ...others] = FOURTH;
    await session.give(first);
    if (!early) session.datagrams.known([THIRD]);
    session.time.us += 60_000;
    for (const fragment of others) await session.give(fragment);
    session.time.us += 600_000; // all deadlines are over
    await session.give(LONE_OF_SOUND);
    assert.equal(session.told.frames[0]?.index, 3, 'but what follows is taken');
    assert.deepEqual([session.counters.nacksSent, session.counters.framesExpired, session.told.lost], [0, 0, []]);
    await session.end();
  });
}
