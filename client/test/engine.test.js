/** What the worker does with frames that come before the catalog, and with the catalog. No decoder is real here. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from '../src/worker/engine.js';
import { fromHex } from './vectors.js';

/** @typedef {import('../src/types.js').Frame} Frame */

/** @type {{codec: string, timestamps: number[]}[]} */ let opened = [];

Object.assign(globalThis, {
  VideoDecoder: class {
    state = 'unconfigured';
    decodeQueueSize = 0;
    opened = { codec: '', timestamps: /** @type {number[]} */ ([]) };

    /** @param {{codec: string}} config */
    configure({ codec }) {
      this.state = 'configured';
      this.opened.codec = codec;
      opened.push(this.opened);
    }

    /** @param {{timestamp: number}} chunk */
    decode({ timestamp }) {
      this.opened.timestamps.push(timestamp);
    }

    close() {
      this.state = 'closed';
    }
  },
  EncodedVideoChunk: class {
    /** @param {{timestamp: number}} init */
    constructor({ timestamp }) {
      this.timestamp = timestamp;
    }
  },
});

const SPS = fromHex('000000016742c01fda01'); // of H.264
const VPS = fromHex('0000000140010c01ffff0160000003009000000300000300'); // of HEVC
const SLICE = fromHex('00000001419a2233445566778899');

/** @param {number} index @param {Uint8Array} payload @returns {Frame} */
const frame = (index, payload) => ({
  track: 0, rendition: 3, group: 0, index, keyframe: index === 0, discardable: false, ptsUs: index * 40_000, captureUs: 0,
  durationUs: 40_000, grabbedUs: 0, convertedUs: 0, encodedUs: 0, payload, firstByteUs: 0,
  arrivalUs: (performance.timeOrigin + performance.now()) * 1000,
});

/** @param {string} codec @returns {import('../src/media/messages.js').Message} */
const catalog = (codec) => ({
  kind: 'catalog', revision: 1,
  tracks: [{ id: 0, kind: 'video', renditions: [{ id: 3, codec, width: 64, height: 64, fps: 25 }] }],
});

/** @param {import('node:test').TestContext} t */
function begun(t) {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] }); // the engine's own never end
  opened = [];
  /** @type {any[]} */ const posted = [];
  const engine = new Engine((message) => posted.push(message), null);
  engine.viewing.start({ codecs: 'avc1,hvc1', prove: false, picture: true });
  engine.sessionOpened();
  return { engine, posted };
}

test('H.264 tells itself: it is decoded before the catalog, with what came ahead of its keyframe', (t) => {
  const { engine } = begun(t);
  engine.frame(frame(1, SLICE));
  assert.deepEqual(opened, []);
  engine.frame(frame(0, SPS));
  engine.frame(frame(2, SLICE));
  assert.deepEqual(opened, [{ codec: 'avc1.42C01F', timestamps: [0, 40_000, 80_000] }]);
});

test('HEVC looks like H.264 from outside, and waits for the catalog', (t) => {
  const { engine, posted } = begun(t);
  engine.frame(frame(0, VPS));
  engine.frame(frame(1, SLICE));
  assert.deepEqual(opened, []);
  engine.message(catalog('hvc1.1.6.L30.90'), 0);
  assert.deepEqual(opened, [{ codec: 'hvc1.1.6.L30.90', timestamps: [0, 40_000] }]);
  assert.ok(posted.some(({ type }) => type === 'catalog'));
});

test('where only the sound is wanted no picture is decoded', (t) => {
  const { engine } = begun(t);
  engine.message(catalog('avc1.42C01F'), 0);
  engine.receive({ type: 'picture', on: false });
  engine.frame(frame(0, SPS));
  assert.deepEqual([opened, engine.video.received], [[], 0]);
});

test('what waits for the catalog has a bound, and the oldest gives way', (t) => {
  const { engine } = begun(t);
  for (let index = 0; index < 100; index++) engine.frame(frame(index, index ? SLICE : VPS));
  engine.message(catalog('hvc1.1.6.L30.90'), 0);
  assert.equal(engine.video.received, 64);
});

test('what comes late after all takes back nothing of what freezes are judged by', (t) => {
  const { engine } = begun(t);
  const marks = t.mock.method(engine.report.freezes, 'paint');
  engine.presenter.sink = { kind: 'canvas', paint: () => true };
  const paint = () => engine.presenter.submit(/** @type {any} */ ({ displayWidth: 64, displayHeight: 64, close() {} }), { frame: frame(0, SPS), decodeUs: 0, decodedUs: 0 });
  engine.video.lost = 2;
  paint();
  Object.assign(engine.video, { lost: 1, late: 1 });
  paint();
  assert.deepEqual(marks.mock.calls.map(({ arguments: [, , missing] }) => missing), [2, 2]);
});
