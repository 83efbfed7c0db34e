import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame, FrameParser, WireError } from '../src/media/wire.js';
import { fromHex, vectors } from './vectors.js';

/** @param {any} f @returns {import('../src/types.js').Frame} */
const fromVector = (f) => ({
  track: f.track, rendition: f.rendition, group: f.group, index: f.index, keyframe: f.keyframe,
  discardable: f.discardable, ptsUs: f.pts_us, captureUs: f.capture_us, durationUs: f.duration_us,
  grabbedUs: f.grabbed_us, convertedUs: f.converted_us, encodedUs: f.encoded_us, payload: fromHex(f.payload), firstByteUs: 0, arrivalUs: 0,
});

/** @param {Uint8Array[]} chunks */
function parse(chunks) {
  const parser = new FrameParser();
  const frames = chunks.flatMap((chunk) => parser.feed(chunk));
  assert.ok(parser.idle);
  return frames.map((frame) => ({ ...frame, payload: Uint8Array.from(frame.payload) }));
}

for (const vector of vectors('frames')) {
  test(`frame: ${vector.name}`, () => {
    const bytes = fromHex(vector.hex);
    const [frame] = parse([bytes]);
    const expected = fromVector(vector.frame);
    assert.deepEqual(encodeFrame(/** @type {any} */ (frame)), bytes);
    assert.deepEqual(frame, { ...expected, ...stagesOf(/** @type {any} */ (frame), expected) });
  });
}

/** A stage time before or far after the capture does not survive the wire; the others must. */
/** @param {any} got @param {any} expected */
function stagesOf(got, expected) {
  const stages = /** @type {const} */ (['grabbedUs', 'convertedUs', 'encodedUs']);
  return Object.fromEntries(stages
    .filter((s) => expected[s] <= expected.captureUs || expected[s] - expected.captureUs >= 2 ** 32)
    .map((s) => [s, got[s]]));
}

test('frames back to back come out whole, however the bytes are cut', () => {
  const whole = vectors('frames').map((v) => fromHex(v.hex));
  const bytes = Buffer.concat(whole);
  const expected = parse([bytes]);
  assert.equal(expected.length, whole.length);
  for (const size of [1, 7, 47, 48, 49, 1000]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) },
      (_, i) => new Uint8Array(bytes.subarray(i * size, (i + 1) * size)));
    assert.deepEqual(parse(chunks), expected);
  }
});

test('a frame is given out with its last byte and an unfinished one is known', () => {
  const bytes = fromHex(vectors('frames')[0].hex);
  const parser = new FrameParser();
  assert.deepEqual(parser.feed(bytes.subarray(0, bytes.length - 1)), []);
  assert.equal(parser.unfinished?.group, vectors('frames')[0].frame.group);
  assert.equal(parser.feed(bytes.subarray(bytes.length - 1)).length, 1);
  assert.equal(parser.unfinished, null);
});

for (const vector of vectors('malformed').filter((v) => v.of === 'frame')) {
  test(`refused frame: ${vector.name}`, () => {
    assert.throws(() => new FrameParser().feed(fromHex(vector.hex)),
      (error) => error instanceof WireError && error.code === vector.code);
  });
}
