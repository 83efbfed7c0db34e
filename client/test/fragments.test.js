/** Fragments, parity, NACKs and arrivals as bytes: the same as the gateway's, by the golden vectors. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeArrivals } from '../src/media/arrivals.js';
import { coefficient, recover } from '../src/media/fec.js';
import { decodeFragment, HEADER_BYTES, MAX_PROTECTED, MAX_ROWS } from '../src/media/fragments.js';
import { encodeNacks } from '../src/media/nacks.js';
import { decodeHeader, WireError } from '../src/media/wire.js';
import { fromHex, vectors } from './vectors.js';

/** @param {{object: string, fragments: string[], parity?: string[]}} vector */
const opened = ({ object, fragments, parity = [] }) => ({
  object: fromHex(object),
  fragments: fragments.map((hex) => decodeFragment(fromHex(hex))),
  parity: parity.map((hex) => decodeFragment(fromHex(hex))),
});

for (const vector of vectors('fragments')) {
  test(`fragments: ${vector.name}`, () => {
    const { object, fragments } = opened(vector);
    const { frame } = decodeHeader(new DataView(object.buffer));
    assert.deepEqual(new Uint8Array(Buffer.concat(fragments.map(({ data }) => data))), object);
    for (const [number, fragment] of fragments.entries()) {
      const { data, pieceBytes, ...told } = fragment;
      assert.deepEqual(told, {
        parity: false, keyframe: frame.keyframe, discardable: frame.discardable, track: frame.track, rendition: frame.rendition,
        group: frame.group, index: frame.index, objectBytes: object.length, number, count: fragments.length, captureUs: frame.captureUs,
      });
      assert.equal(pieceBytes, /** @type {any} */ (fragments[0]).data.length);
      assert.ok(data.length <= vector.piece_bytes);
    }
  });
}

for (const vector of vectors('malformed').filter(({ of }) => of === 'fragment')) {
  test(`refused fragment: ${vector.name}`, () => {
    assert.throws(() => decodeFragment(fromHex(vector.hex)), (error) => error instanceof WireError && error.code === vector.code);
  });
}

test('whatever bytes come, a fragment is right in itself or refused', () => {
  const seeds = vectors('parity').flatMap((vector) => [...vector.fragments, ...vector.parity]).map(fromHex);
  let random = 1;
  const next = (/** @type {number} */ below) => (random = (random * 48271) % 0x7fffffff) % below;
  let right = 0;
  for (let i = 0; i < 20_000; i++) {
    const seed = /** @type {Uint8Array} */ (seeds[next(seeds.length)]);
    const bytes = Uint8Array.from(seed.subarray(0, next(4) ? seed.length : next(seed.length)));
    for (let flips = next(3); flips > 0 && bytes.length; flips--) bytes[next(Math.min(bytes.length, 30))] = next(256);
    try {
      const { parity, number, count, objectBytes, pieceBytes, data } = decodeFragment(bytes);
      right++;
      assert.equal(Math.ceil(objectBytes / pieceBytes), count);
      assert.equal(data.length, bytes.length - HEADER_BYTES);
      if (parity) assert.ok(number < MAX_ROWS && count <= MAX_PROTECTED && data.length === pieceBytes);
      else assert.equal(data.length, number < count - 1 ? pieceBytes : objectBytes - (count - 1) * pieceBytes);
    } catch (error) {
      assert.ok(error instanceof WireError, String(error));
    }
  }
  assert.ok(right > 1000 && right < 20_000, `${right} were right`);
});

test('row 0 of the code is plain XOR, and no coefficient is 0', () => {
  for (let piece = 0; piece < MAX_PROTECTED; piece++) {
    assert.equal(coefficient(0, piece), 1);
    for (let row = 0; row < MAX_ROWS; row++) assert.ok(coefficient(row, piece) > 0);
  }
});

/** @param {ReturnType<typeof opened>} frame @param {number[]} missing @param {number[]} rows @returns {Uint8Array} the object */
function mended({ object, fragments, parity }, missing, rows) {
  const [{ count, pieceBytes }] = /** @type {[import('../src/media/fragments.js').Fragment]} */ (/** @type {unknown} */ (fragments));
  const pieces = new Map(fragments.filter(({ number }) => !missing.includes(number)).map(({ number, data }) => [number, data]));
  const found = recover(pieces, new Map(rows.map((row) => [row, /** @type {any} */ (parity[row]).data])), count, pieceBytes);
  assert.deepEqual([...found.keys()], missing);
  const all = fragments.map(({ number }) => found.get(number) ?? /** @type {Uint8Array} */ (pieces.get(number)));
  return new Uint8Array(Buffer.concat(all)).subarray(0, object.length);
}

for (const vector of vectors('parity').filter(({ parity }) => parity.length)) {
  test(`parity: ${vector.name}`, () => {
    const frame = opened(vector);
    const { fragments, parity, object } = frame;
    const rows = parity.map((_, row) => row);
    for (const [row, piece] of parity.entries()) assert.deepEqual([piece.parity, piece.number, piece.pieceBytes], [true, row, piece.data.length]);
    const numbers = fragments.map(({ number }) => number);
    const most = Math.min(rows.length, numbers.length);
    for (const lost of [numbers.slice(0, 1), numbers.slice(-1), numbers.slice(0, most), numbers.slice(-most), numbers.filter((n) => n % 3 === 1).slice(0, most)]) {
      for (const used of [rows, rows.slice(-lost.length), rows.toReversed()]) assert.deepEqual(mended(frame, lost, used), object);
    }
    assert.throws(() => mended(frame, numbers.slice(0, most), rows.slice(0, most - 1)), RangeError);
  });
}

for (const { name, entries, hex } of vectors('nacks')) {
  test(`NACK: ${name}`, () => assert.deepEqual(encodeNacks(entries, 1024), [fromHex(hex)]));
}

/** @param {any} a @returns {import('../src/media/arrivals.js').Arrival} */
const arrivalOf = (a) => ({
  track: a.track, group: a.group, index: a.index, complete: a.complete, stream: a.stream,
  receivedBytes: a.received_bytes, firstUs: a.first_us, lastUs: a.last_us,
});

for (const { name, entries, hex } of vectors('arrivals')) {
  test(`arrivals: ${name}`, () => assert.deepEqual(encodeArrivals(entries.map(arrivalOf), 1500), [fromHex(hex)]));
}

test('what is more than a datagram holds goes in several', () => {
  const nacks = vectors('nacks').find(({ entries }) => entries.length === 64).entries;
  assert.deepEqual(encodeNacks([...nacks, ...nacks], 1024).map((bytes) => bytes[1]), [64, 64]);
  assert.deepEqual(encodeNacks(nacks, 500).map((bytes) => [bytes[1], bytes.length]), [[35, 492], [29, 408]]);
  const arrivals = vectors('arrivals').find(({ entries }) => entries.length === 64).entries.map(arrivalOf);
  assert.deepEqual(encodeArrivals(arrivals, 1024).map((bytes) => [bytes[1], bytes.length]), [[50, 1012], [14, 292]]);
  assert.deepEqual([encodeNacks([], 1024), encodeArrivals([], 1024), encodeNacks(nacks, 0), encodeArrivals(arrivals, 0)], [[], [], [], []]);
});
