/**
 * The path of the sound with decoders that give out, as samples, when each of them is to be heard: what lies
 * in the ring tells what would be heard, sample by sample.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { READ, Ring, ringBytes, RUNNING } from '../src/audio/ring.js';
import { ClockSync } from '../src/media/clock.js';
import { AudioPath } from '../src/worker/audio.js';
import { SharedWriter } from '../src/worker/ring_writer.js';
import { nowUs } from '../src/worker/time.js';
import { Timeline } from '../src/worker/timeline.js';

/** @typedef {import('../src/types.js').Frame} Frame */

const RATE = 48000;
const SECOND = 1_000_000;
/** @type {Record<string, number>} samples of a packet */ const PACKET = { opus: 960, 'mp4a.40.2': 1024 };

/** @type {StandIn[]} */ let opened = [];

class StandIn {
  state = 'configured';
  config = /** @type {AudioDecoderConfig} */ ({});
  packets = 0;

  /** @param {{output: (data: any) => void}} init */
  constructor({ output }) {
    this.output = output;
    opened.push(this);
  }

  /** @param {AudioDecoderConfig} config */
  configure(config) {
    this.config = config;
  }

  /** @param {{timestamp: number}} chunk */
  decode({ timestamp }) {
    const { sampleRate, numberOfChannels, codec } = this.config;
    const numberOfFrames = PACKET[codec] ?? 0;
    const wrong = this.packets++ === 0; // a decoder that begins is not right at once
    this.output({
      timestamp, sampleRate, numberOfChannels, numberOfFrames, close() {},
      copyTo(/** @type {Float32Array} */ plane) {
        for (let i = 0; i < plane.length; i++) plane[i] = wrong ? 99 : timestamp / SECOND + i / sampleRate;
      },
    });
  }

  close() {
    this.state = 'closed';
  }
}
Object.assign(globalThis, { AudioDecoder: StandIn, EncodedAudioChunk: class { constructor(/** @type {any} */ init) { Object.assign(this, init); } } });

/** @type {any[]} */ const RENDITIONS = [
  { id: 0, codec: 'mp4a.40.2', sample_rate: RATE, channels: 1, description: new Uint8Array([0x11, 0x88]) },
  { id: 1, codec: 'opus', sample_rate: RATE, channels: 1 },
];

function begun() {
  opened = [];
  const clock = new ClockSync();
  const path = new AudioPath({ timeline: new Timeline(() => clock), post() {}, measures: false, onDelivered() {}, renditions: [], running: false, outputUs: 0 });
  const writer = new SharedWriter(/** @type {any} */ (new ArrayBuffer(ringBytes(1, RATE * 4))), 1, RATE * 4);
  path.playout.setWriter(writer, RATE);
  path.setOutput(true, 0);
  return { path, ring: writer.ring };
}

/** @param {number} rendition @param {number} index @returns {Frame} */
function frame(rendition, index) {
  const samples = PACKET[RENDITIONS[rendition].codec] ?? 0;
  return /** @type {any} */ ({
    track: 1, rendition, group: 0, index, keyframe: true, payload: new Uint8Array(9),
    ptsUs: Math.round((index * samples * SECOND) / RATE), durationUs: Math.round((samples * SECOND) / RATE), arrivalUs: index,
  });
}

/** @param {Ring} ring */
const written = (ring) => [.../** @type {Float32Array} */ (ring.planes[0]).subarray(0, ring.get(0))];

/** @param {number[]} samples those that are not one sample after the one before */
const seams = (samples) => samples.slice(1).flatMap((value, i) => {
  const step = value - /** @type {number} */ (samples[i]);
  return Math.abs(step - 1 / RATE) > 2e-6 ? [i] : [];
});

test('what is heard goes over to another rendition where the first one ends, to the sample', () => {
  const { path, ring } = begun();
  path.configure(RENDITIONS);
  for (let i = 0; i < 20; i++) path.push(frame(1, i)); // 0 to 400 ms
  assert.deepEqual([path.codec, path.rendition], ['opus', 1]);
  for (let i = 14; i < 40; i++) path.push(frame(0, i)); // from 298.7 ms on
  assert.deepEqual([path.codec, path.rendition], ['mp4a.40.2', 0]);
  assert.equal(opened[0]?.state, 'closed');
  assert.deepEqual(opened[1]?.config.description, RENDITIONS[0].description);
  const samples = written(ring).slice(960); // the first decoder's first packet is wrong, as nothing came before
  assert.deepEqual(seams(samples), []);
  assert.ok(Math.abs(/** @type {number} */ (samples.at(-1)) - (40 * 1024 - 1) / RATE) < 1e-4);
  assert.deepEqual([path.lost, path.dropped, path.outOfOrder, path.errors], [0, 0, 0, 0]);
});

test('what comes late of the rendition that was left is not heard again', () => {
  const { path, ring } = begun();
  path.configure(RENDITIONS);
  for (let i = 0; i < 19; i++) path.push(frame(1, i));
  for (let i = 14; i < 24; i++) path.push(frame(0, i));
  const before = written(ring).length;
  path.push(frame(1, 19));
  assert.equal(written(ring).length, before);
  assert.deepEqual([path.rendition, path.dropped], [0, 0]);
  for (let i = 24; i < 30; i++) path.push(frame(0, i));
  assert.deepEqual(seams(written(ring).slice(960)), []);
});

test('what another instance sends goes on where the sound is, and nothing is heard twice', () => {
  const { path, ring } = begun();
  path.configure(RENDITIONS);
  for (let i = 0; i < 20; i++) path.push(frame(1, i));
  path.newSession(true);
  for (let i = 15; i < 30; i++) path.push({ ...frame(1, i), group: 70, index: i - 15 });
  assert.equal(opened.length, 1, 'its decoder goes on');
  const samples = written(ring).slice(960);
  assert.deepEqual(seams(samples), []);
  assert.ok(Math.abs(/** @type {number} */ (samples.at(-1)) - (30 * 960 - 1) / RATE) < 1e-4);
  assert.deepEqual([path.outOfOrder, path.lost, path.dropped], [0, 0, 0]);
  assert.deepEqual([path.delivered?.group, path.delivered?.index], [70, 14]);
});

test('what was captured during silence came late because of that, and nothing else is concluded from it', () => {
  const late = (/** @type {AudioPath} */ path) => {
    path.configure(RENDITIONS);
    for (let i = 0; i < 200; i++) path.push({ ...frame(1, i), arrivalUs: i * 20_000 });
    const [depth, jitter] = [path.playout.need.delayUs, path.jitter.value];
    if (path === one) path.silentUntilUs = 230 * 20_000;
    for (let i = 200; i < 230; i++) path.push({ ...frame(1, i), arrivalUs: 230 * 20_000 });
    return [path.playout.need.delayUs - depth, path.jitter.value - jitter];
  };
  const one = begun().path;
  assert.deepEqual(late(one), [0, 0]);
  const [deeper = 0, jitter = 0] = late(begun().path);
  assert.ok(deeper > 100_000 && jitter > 0, `${deeper}, ${jitter}: else it would be jitter`);
});

test('a source that begins anew is heard though its times are before', () => {
  const { path } = begun();
  path.configure(RENDITIONS);
  for (let i = 200; i < 210; i++) path.push(frame(1, i));
  path.newSession(false);
  path.push(frame(0, 0));
  assert.equal(path.rendition, 0);
});

test('a decoder is made anew only where there is something else to decode', () => {
  const { path } = begun();
  path.configure(RENDITIONS);
  path.push(frame(0, 0));
  path.configure(RENDITIONS.map((rendition) => ({ ...rendition, bitrate_bps: 5 })));
  path.push(frame(0, 1));
  assert.equal(opened.length, 1);
  path.configure(RENDITIONS.map((rendition) => ({ ...rendition, description: new Uint8Array([0x12, 0x08]) })));
  path.push(frame(0, 2));
  assert.equal(opened.length, 2);
});

test('sound that comes before the catalog waits for it', () => {
  const { path, ring } = begun();
  path.push(frame(1, 0));
  path.push(frame(1, 1));
  assert.equal(written(ring).length, 0);
  path.configure(RENDITIONS);
  assert.equal(written(ring).length, 1920);
});

test('a missing packet is waited for as long as the ring lasts, then made up, and the next ones are heard in time', (t) => {
  const { path, ring } = begun();
  path.configure(RENDITIONS);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (let i = 0; i < 4; i++) path.push({ ...frame(1, i), arrivalUs: nowUs() });
  const before = written(ring).length;
  ring.set(READ, before - 1920); // 40 ms are left
  ring.set(RUNNING, 1);
  path.push({ ...frame(1, 5), arrivalUs: nowUs() });
  t.mock.timers.tick(20);
  assert.equal(written(ring).length, before, 'it may still come');
  t.mock.timers.tick(6);
  assert.equal(written(ring).length, before + 2 * 960);
  assert.deepEqual([path.lost, path.stats.audioFramesConcealed, path.stats.audioConcealedMs], [1, 1, 20]);
  path.push({ ...frame(1, 4), arrivalUs: nowUs() });
  assert.equal(written(ring).length, before + 2 * 960, 'too late');
});

test('the need of the sound is judged by when packets come, not by how long they wait for one before them', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { path } = begun();
  path.configure(RENDITIONS);
  for (let i = 0; i < 400; i++) if (i % 10) path.push({ ...frame(1, i), arrivalUs: i * 20_000 + 5_000 });
  assert.ok(path.playout.need.delayUs < 5_000 + 20_000, `${path.playout.need.delayUs}`);
});

test('while nothing is heard a missing packet holds the next ones up for a moment only', (t) => {
  const { path, ring } = begun();
  path.configure(RENDITIONS);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const still = performance.now(); // a busy machine may take its time between the two
  t.mock.method(performance, 'now', () => still);
  path.push({ ...frame(1, 0), arrivalUs: nowUs() });
  path.push({ ...frame(1, 2), arrivalUs: nowUs() });
  const before = written(ring).length;
  t.mock.timers.tick(50);
  assert.equal(written(ring).length, before);
  t.mock.timers.tick(12);
  assert.ok(written(ring).length > before);
});
