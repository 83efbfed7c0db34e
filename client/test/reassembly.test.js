/** Fragments put together again: the scenarios that the gateway's side plays too, and what no network may break. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeFragment, HEADER_BYTES } from '../src/media/fragments.js';
import { Reassembly } from '../src/media/reassembly.js';
import { encodeFrame } from '../src/media/wire.js';
import { fromHex, vectors } from './vectors.js';

/** @typedef {import('../src/media/partial.js').Name} Name */

/** @param {number[]} list @returns {Name} */
const nameOf = ([track = 0, rendition = 0, group = 0, index = 0]) => ({ track, rendition, group, index });
/** @param {Name} name */
const listOf = ({ track, rendition, group, index }) => [track, rendition, group, index];
/** @param {Uint8Array} bytes */
const hexOf = (bytes) => Buffer.from(bytes).toString('hex');

/** @param {Reassembly} box @param {any} step @returns {{frame?: any, nacks?: number[][]}} */
function take(box, { at_us: at, push, stream, done, path, clock, ask }) {
  if (push) {
    const frame = box.push(decodeFragment(fromHex(push)), at);
    return { frame: frame && [...listOf(frame), hexOf(frame.payload)] };
  }
  if (stream) box.arrivedAsStream({ ...nameOf(stream), captureUs: stream[4], keyframe: stream[5] }, at);
  if (done) box.doneWith(nameOf(done));
  if (path) box.setPath(path[0], path[1] ?? undefined);
  if (clock !== undefined) box.clockOffsetUs = clock;
  return ask ? { nacks: box.nacks(at).map((entry) => [...listOf(entry), entry.first, entry.last]) } : {};
}

for (const { name, options: o, steps, counters } of vectors('reassembly')) {
  test(`reassembly: ${name}`, () => {
    const box = new Reassembly({ deadlineUs: o.deadline_us, maxFrames: o.max_frames, maxBytes: o.max_bytes });
    for (const [number, step] of steps.entries()) {
      const { frame = null, nacks } = take(box, step);
      const got = { frame, nacks, lost: box.takeLost().map(listOf), next: box.nextTimeout(), held: [box.heldFrames, box.heldBytes] };
      const expected = { frame: step.frame, nacks: step.nacks, lost: step.lost, next: step.next_timeout_us, held: step.held };
      assert.deepEqual(got, expected, `step ${number} at ${step.at_us}`);
    }
    assert.deepEqual(box.counters, counters);
  });
}

/** @param {number} seed a small generator of our own, so that a failure can be seen again */
function dice(seed) {
  let state = seed * 2654435761 + 1;
  return (/** @type {number} */ below) => (state = (state * 48271) % 0x7fffffff) % below;
}

/** Fragments of a frame, as the gateway cuts them. @param {Uint8Array} object @param {number} pieceBytes @param {number} index */
function cut(object, pieceBytes, index) {
  const count = Math.ceil(object.length / pieceBytes);
  const even = Math.ceil(object.length / count);
  return Array.from({ length: count }, (_, number) => {
    const data = object.subarray(number * even, (number + 1) * even);
    const view = new DataView(new ArrayBuffer(HEADER_BYTES + data.length));
    view.setUint8(0, 0x10);
    view.setUint8(1, index === 0 ? 1 : 0);
    view.setUint32(4, Math.floor(index / 20));
    view.setUint32(8, index % 20);
    view.setUint32(12, object.length);
    view.setUint16(16, number);
    view.setUint16(18, count);
    view.setUint32(24, index * 33_333);
    const bytes = new Uint8Array(view.buffer);
    bytes.set(data, HEADER_BYTES);
    return bytes;
  });
}

for (let seed = 1; seed <= 20; seed++) {
  test(`whatever the network does, frames are whole or lost, and what is held has a bound (${seed})`, () => {
    const roll = dice(seed);
    const [maxFrames, maxBytes] = [4 + roll(20), 6_000 + roll(20_000)];
    const box = new Reassembly({ deadlineUs: 100_000 + roll(200_000), maxFrames, maxBytes });
    box.setPath(roll(80_000));
    const objects = new Map();
    /** @type {{at: number, bytes: Uint8Array}[]} */ const sent = [];
    for (let index = 0; index < 60; index++) {
      const payload = Uint8Array.from({ length: roll(1500) }, () => roll(256));
      const object = encodeFrame(/** @type {any} */ ({
        track: 0, rendition: 0, group: Math.floor(index / 20), index: index % 20, keyframe: index === 0, discardable: false,
        ptsUs: 0, captureUs: index * 33_333, durationUs: 33_333, grabbedUs: 0, convertedUs: 0, encodedUs: 0, payload,
      }));
      objects.set(`${Math.floor(index / 20)}:${index % 20}`, payload);
      for (const bytes of cut(object, 60 + roll(200), index)) {
        for (let copies = [0, 1, 1, 1, 1, 2][roll(6)] ?? 0; copies > 0; copies--) sent.push({ at: index * 33_333 + roll(50_000), bytes });
      }
    }
    sent.sort((a, b) => a.at - b.at);
    const whole = new Set();
    const lost = new Set();
    for (const { at, bytes } of sent) {
      for (let due = box.nextTimeout(); due !== null && due <= at; due = box.nextTimeout()) {
        for (const { first, last } of box.nacks(due)) assert.ok(first <= last);
        const next = box.nextTimeout();
        assert.ok(next === null || next > due, 'a timeout is dealt with');
      }
      const frame = box.push(decodeFragment(bytes), at);
      assert.ok(box.heldFrames <= maxFrames && box.heldBytes <= maxBytes, `${box.heldFrames} frames, ${box.heldBytes} bytes`);
      for (const { group, index } of box.takeLost()) lost.add(`${group}:${index}`);
      if (!frame) continue;
      const key = `${frame.group}:${frame.index}`;
      assert.deepEqual(new Uint8Array(frame.payload), objects.get(key));
      assert.ok(!whole.has(key) && !lost.has(key), `${key} once`);
      whole.add(key);
    }
    while (box.nextTimeout() !== null) box.nacks(/** @type {number} */ (box.nextTimeout()));
    for (const { group, index } of box.takeLost()) lost.add(`${group}:${index}`);
    assert.deepEqual([box.heldFrames, box.heldBytes], [0, 0]);
    assert.ok([...lost].every((key) => !whole.has(key)));
    assert.ok(whole.size > 0 && lost.size > 0, `${whole.size} whole, ${lost.size} lost`);
  });
}
