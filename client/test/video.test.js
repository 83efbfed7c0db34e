/**
 * The path of the picture with a decoder that holds pictures back. The decoder is a stand-in with the
 * interface of WebCodecs: it gives out by timestamp, once it holds more pictures than it was told.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { ClockSync } from '../src/media/clock.js';
import { Presenter } from '../src/worker/presenter.js';
import { Report } from '../src/worker/report.js';
import { Timeline } from '../src/worker/timeline.js';
import { VideoPath } from '../src/worker/video.js';

/** @typedef {import('../src/types.js').Frame} Frame */

const FRAME_US = 40_000;

/** @type {StandIn[]} */ let opened = [];
let holds = 0;

class StandIn {
  state = 'unconfigured';
  decodeQueueSize = 0;
  codec = '';
  /** @type {number[]} */ held = [];
  /** @type {() => void} */ flushed = () => {};

  /** @param {{output: (picture: any) => void}} init */
  constructor({ output }) {
    this.output = output;
    this.holds = holds;
    opened.push(this);
  }

  /** @param {{codec: string}} config */
  configure({ codec }) {
    this.codec = codec;
    this.state = 'configured';
  }

  /** @param {{timestamp: number}} chunk */
  decode({ timestamp }) {
    this.held = [...this.held, timestamp].sort((a, b) => a - b);
    while (this.held.length > this.holds) this.#give();
  }

  #give() {
    this.output({ timestamp: this.held.shift(), displayWidth: 64, displayHeight: 64, close() {} });
  }

  /** Resolves when the test says so: a real one takes its time. */
  flush() {
    return new Promise((resolve) => {
      this.flushed = () => {
        while (this.held.length) this.#give();
        resolve(undefined);
      };
    });
  }

  close() {
    this.state = 'closed';
  }
}

Object.assign(globalThis, { VideoDecoder: StandIn, EncodedVideoChunk: class {
  /** @param {{timestamp: number}} init */
  constructor({ timestamp }) {
    this.timestamp = timestamp;
  }
} });

/** @param {{rendition: number, codec: string, reorder_frames: number}[]} renditions @param {number} held by each decoder */
function begun(renditions, held) {
  opened = [];
  holds = held;
  const timeline = new Timeline(() => new ClockSync());
  /** @type {number[]} */ const shown = [];
  /** @type {string[]} */ const asked = [];
  const presenter = new Presenter(timeline, (info) => shown.push(info.frame.ptsUs / FRAME_US), () => {});
  presenter.sink = { kind: 'canvas', paint: () => true };
  const video = new VideoPath(presenter, timeline, (reason) => asked.push(reason), () => {});
  video.decoder.renditions = new Map(renditions.map(({ rendition, ...rest }) => [rendition, /** @type {any} */ ({ id: rendition, ...rest })]));
  return { video, shown, asked };
}

/** @param {number} rendition @param {number} group @param {number[]} pictures numbers in decoding order @returns {Frame[]} */
const frames = (rendition, group, pictures) => pictures.map((number, index) => ({
  track: 0, rendition, group, index, keyframe: index === 0, discardable: false, ptsUs: number * FRAME_US, captureUs: 0,
  durationUs: FRAME_US, grabbedUs: 0, convertedUs: 0, encodedUs: 0, payload: new Uint8Array(1),
  firstByteUs: 0, arrivalUs: (performance.timeOrigin + performance.now()) * 1000,
}));

const PLAIN = { rendition: 0, codec: 'vp09.00.10.08', reorder_frames: 0 };
const SOURCE = { rendition: 1, codec: 'hvc1.1.6.L93.90', reorder_frames: 2 };
const settled = () => new Promise((resolve) => { setImmediate(resolve); });
const upTo = (/** @type {number} */ count) => Array.from({ length: count }, (_, i) => i);

test('B-frames are shown in order, and none is called lost, dropped or out of order', () => {
  const { video, shown, asked } = begun([SOURCE], 2);
  for (const frame of frames(1, 0, [0, 3, 1, 2, 6, 4, 5, 9, 7, 8])) video.push(frame);
  for (const frame of frames(1, 1, [10, 13, 11, 12])) video.push(frame);
  assert.deepEqual(shown, upTo(12));
  assert.deepEqual([video.dropped, video.lost, video.outOfOrder], [0, 0, 0]);
  assert.deepEqual(asked, []);
});

test('a decoder may fill the largest picture buffer before it gives anything out', () => {
  const { video, shown } = begun([{ ...SOURCE, reorder_frames: 4 }], 16);
  for (const frame of frames(1, 0, upTo(40))) video.push(frame);
  assert.deepEqual(shown, upTo(24));
});

test('another instance that goes on: what is in the decoder is shown, and then nothing twice or backwards', () => {
  const { video, shown, asked } = begun([PLAIN], 100);
  for (const frame of frames(0, 7, [0, 1, 2])) video.push(frame);
  const give = (/** @type {number} */ number) => opened[0]?.output({ timestamp: number * FRAME_US, displayWidth: 64, displayHeight: 64, close() {} });
  give(0);
  video.newSession(true);
  for (const frame of frames(0, 3, [1.75, 2.75, 3.75])) video.push(frame);
  for (const number of [1, 2, 1.75, 2.75, 3.75]) give(number);
  assert.deepEqual([shown, opened.length], [[0, 1, 2, 2.75, 3.75], 1]);
  assert.deepEqual([video.outOfOrder, video.lost, video.dropped, asked], [0, 0, 1, []]);
});

test('one that is said to give out at once is not fed without end', () => {
  const { video, shown } = begun([PLAIN], 16);
  for (const frame of frames(0, 0, upTo(40))) video.push(frame);
  assert.deepEqual([shown, video.decoder.inside], [[], 10]);
});

test('another rendition waits until all pictures of the one before are out', async () => {
  const { video, shown } = begun([PLAIN, SOURCE], 2);
  for (const frame of frames(1, 0, [0, 3, 1, 2])) video.push(frame);
  for (const frame of frames(0, 1, [4, 5, 6, 7])) video.push(frame);
  assert.deepEqual([shown, opened.length], [[0, 1], 1]);
  opened[0]?.flushed();
  await settled();
  assert.deepEqual(opened.map(({ codec, state }) => `${codec} ${state}`), ['hvc1.1.6.L93.90 closed', 'vp09.00.10.08 configured']);
  assert.deepEqual(shown, [0, 1, 2, 3, 4, 5]);
  assert.deepEqual([video.dropped, video.lost, video.outOfOrder], [0, 0, 0]);
});

test('what the next rendition shows too is left to it', async () => {
  const { video, shown } = begun([PLAIN, SOURCE], 2);
  for (const frame of frames(1, 0, [0, 3, 1, 2, 6, 4, 5])) video.push(frame);
  for (const frame of frames(0, 1, [5, 6, 7, 8, 9])) video.push(frame);
  opened[0]?.flushed();
  await settled();
  assert.deepEqual(shown, [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual([video.dropped, video.lost, video.outOfOrder], [2, 0, 0]);
});

test('a source that starts anew in another coding loses no picture of before', async () => {
  const { video, shown } = begun([PLAIN, SOURCE], 2);
  for (const frame of frames(1, 0, [1000, 1003, 1001, 1002])) video.push(frame);
  for (const frame of frames(0, 1, [0, 1, 2])) video.push(frame);
  opened[0]?.flushed();
  await settled();
  assert.deepEqual([shown, video.dropped], [[1000, 1001, 1002, 1003, 0], 0]);
});

test('renditions of one coding share a decoder while none of them reorders', () => {
  const { video, shown } = begun([PLAIN, { ...PLAIN, rendition: 1 }], 0);
  for (const frame of [...frames(0, 0, [0, 1]), ...frames(1, 1, [2, 3])]) video.push(frame);
  assert.deepEqual([shown, opened.length], [[0, 1, 2, 3], 1]);
});

test('a decoder that never empties itself is given up', () => {
  const { video } = begun([PLAIN, SOURCE], 2);
  for (const frame of frames(1, 0, [0, 3, 1, 2])) video.push(frame);
  for (const frame of frames(0, 1, [4])) video.push(frame);
  const now = (performance.timeOrigin + performance.now()) * 1000;
  video.decoder.checkStuck(now + 1e6);
  assert.equal(video.decoder.errors, 0);
  video.decoder.checkStuck(now + 2e6);
  assert.deepEqual([video.decoder.errors, video.decoder.inside], [1, 0]);
  video.pump();
  assert.equal(opened.at(-1)?.codec, PLAIN.codec);
});

test('a source that starts anew may begin with any timestamp', () => {
  const { video, shown } = begun([PLAIN], 0);
  for (const frame of [...frames(0, 0, [900, 901]), ...frames(0, 1, [5, 6])]) video.push(frame);
  assert.deepEqual(shown, [900, 901, 5, 6]);
});

test('a group that begins a little before what was shown does not let the picture jump back', () => {
  const { video, shown } = begun([PLAIN], 0);
  for (const frame of [...frames(0, 0, [50, 51]), ...frames(0, 1, [50, 51, 52])]) video.push(frame);
  assert.deepEqual([shown, video.outOfOrder, video.dropped], [[50, 51, 52], 2, 2]);
});

test('timestamps in decoding order are no jitter of the network', () => {
  const { video } = begun([SOURCE], 2);
  for (const frame of frames(1, 0, [0, 3, 1, 2, 6, 4, 5, 7, 10, 8, 9])) {
    frame.captureUs = frame.index * FRAME_US;
    frame.arrivalUs = frame.captureUs + 1e6;
    video.push(frame);
  }
  assert.equal(video.jitter.value, 0);
});

test('a picture that comes out behind its time is counted, and not shown', () => {
  const { video, shown } = begun([SOURCE], 0);
  for (const frame of frames(1, 0, [0, 2])) video.push(frame);
  opened[0]?.output({ timestamp: FRAME_US, close() {} });
  assert.deepEqual([shown, video.outOfOrder], [[0, 2], 0], 'it was none of ours');
  for (const frame of frames(1, 0, [0, 2, 1]).slice(2)) video.push(frame);
  assert.deepEqual([shown, video.outOfOrder, video.dropped], [[0, 2], 1, 1]);
});

test('a frame that the gateway left out is neither decoded nor missed', () => {
  const { video, shown, asked } = begun([PLAIN], 0);
  for (const frame of frames(0, 0, upTo(3))) video.push(frame.index === 1 ? { ...frame, payload: new Uint8Array(0) } : frame);
  assert.deepEqual([shown, asked, video.lost, video.received], [[0, 2], [], 0, 3]);
});

test('a missing frame is waited for until its deadline, or until it is known to be lost', () => {
  const { video, shown, asked } = begun([PLAIN], 0);
  video.patienceUs = 200_000;
  video.newSession();
  assert.equal(video.order.patienceUs, 200_000);
  const [first, second, ...rest] = frames(0, 0, upTo(5));
  for (const frame of [first, ...rest]) video.push(/** @type {Frame} */ (frame));
  video.coming(/** @type {Frame} */ (second));
  const [next] = frames(0, 1, [5]);
  video.push(/** @type {Frame} */ (next));
  assert.deepEqual([shown, asked], [[0], []]);
  video.lose(/** @type {Frame} */ (second));
  assert.deepEqual([shown, asked, video.lost], [[0, 5], [], 4]);
});

/** Two frames are missing at a group's end when delivery goes on with the next. */
async function withoutTail() {
  const { video, shown } = begun([PLAIN], 0);
  for (const frame of frames(0, 0, upTo(4))) video.push(frame);
  for (const frame of frames(0, 1, [6, 7])) video.push(frame);
  await pass(40);
  assert.deepEqual(shown, [0, 1, 2, 3, 6, 7]);
  const told = () => {
    const { framesLost, framesLate } = new Report().stats(video, null, new ClockSync());
    return { framesLost, framesLate };
  };
  return { video, shown, told };
}

test("a group's tail that never comes is lost", async () => {
  const { told } = await withoutTail();
  assert.deepEqual(told(), { framesLost: 2, framesLate: 0 });
});

test("a group's tail that comes after delivery has gone on is late, and not lost", async () => {
  const { video, shown, told } = await withoutTail();
  for (const frame of frames(0, 0, upTo(6)).slice(4)) video.push(frame);
  assert.deepEqual(told(), { framesLost: 0, framesLate: 2 });
  assert.deepEqual([shown.length, video.dropped], [6, 2]);
});

test('what comes twice was neither lost nor late, and of what is lost each frame comes late once', async () => {
  const { video, told } = await withoutTail();
  const group = frames(0, 0, upTo(6));
  for (const frame of group.slice(0, 4)) video.push(frame);
  assert.deepEqual(told(), { framesLost: 2, framesLate: 0 });
  for (let i = 0; i < 3; i++) video.push(/** @type {Frame} */ (group[4]));
  assert.deepEqual(told(), { framesLost: 1, framesLate: 1 });
  video.push(/** @type {Frame} */ (group[5]));
  for (const frame of frames(0, 0, upTo(9)).slice(6)) video.push(frame); // more than seemed to be missing
  assert.deepEqual(told(), { framesLost: 0, framesLate: 2 });
});

test('what was before the beginning is neither lost nor late', async () => {
  const { video, told } = await withoutTail();
  video.newSession();
  for (const frame of frames(0, 1, [6, 7])) video.push(frame);
  for (const frame of frames(0, 0, upTo(6))) video.push(frame);
  assert.deepEqual(told(), { framesLost: 2, framesLate: 0 });
});

test('what another session has lost does not come by the same names', async () => {
  const { video, told } = await withoutTail();
  video.newSession();
  for (const frame of [...frames(0, 0, upTo(6)), ...frames(0, 1, [6])]) video.push(frame);
  for (const frame of frames(0, 0, upTo(6))) video.push(frame);
  assert.deepEqual(told(), { framesLost: 2, framesLate: 0 });
});
