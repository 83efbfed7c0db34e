/**
 * The worklet's player on tones: whatever it leaves out, repeats or makes up, the pitch stays, and nothing steps
 * further than the tone itself does.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Continuation, HISTORY } from '../src/audio/continuation.js';
import { CONCEALED, HOLD, PLAYED, RATE, READ, Ring, ringBytes, RUNNING, SKIP_TO, UNDERRUNS, WRITTEN } from '../src/audio/ring.js';
import { RingPlayer } from '../src/audio/ring_player.js';
import { MAX_LAG, mostSimilar } from '../src/audio/similarity.js';

const SECOND = 48_000;
const BLOCK = 128;

/** @param {number} hz @param {number} at sample */
const tone = (hz, at) => 0.5 * Math.sin((2 * Math.PI * hz * at) / SECOND);
/** A voice: pulses through a resonance. @param {number} at */
const voice = (at) => [110, 220, 330, 550, 1100, 2200].reduce((sum, hz, i) => sum + tone(hz, at + 7 * i) / (i + 1), 0) / 2;

/** A ring that is kept full, and what the player makes of it. */
class Bench {
  #next = 0;
  ring;
  player;

  /** @param {(at: number) => number} wave @param {number} [channels] @param {number} [depth] samples kept in the ring */
  constructor(wave, channels = 1, depth = 4800) {
    this.wave = wave;
    this.depth = depth;
    this.ring = new Ring(new ArrayBuffer(ringBytes(channels, SECOND)), channels, SECOND);
    this.player = new RingPlayer(this.ring);
  }

  fill() {
    while (this.ring.depth < this.depth) this.write(480);
  }

  /** @param {number} count */
  write(count) {
    const plane = Float32Array.from({ length: count }, (_, i) => this.wave(this.#next + i));
    assert.ok(this.ring.write(this.ring.planes.map((_, c) => plane.map((value) => (c ? -value : value)))));
    this.#next += count;
  }

  /** @param {number} samples @param {boolean} [fed] @returns {number[]} of the last channel */
  play(samples, fed = true) {
    /** @type {number[]} */ const out = [];
    while (out.length < samples) {
      if (fed) this.fill();
      const planes = this.ring.planes.map(() => new Float32Array(BLOCK));
      this.player.render(planes);
      out.push(.../** @type {Float32Array} */ (planes.at(-1)));
    }
    return out;
  }
}

/** @param {ArrayLike<number>} samples */
const steepest = (samples) => Array.from(samples).slice(1).reduce((most, value, i) => Math.max(most, Math.abs(value - /** @type {number} */ (samples[i]))), 0);

/** @param {number[]} samples */
const loudest = (samples) => samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** By crossings of zero. @param {number[]} samples */
function frequency(samples) {
  const up = samples.flatMap((value, i) => (i > 0 && /** @type {number} */ (samples[i - 1]) < 0 && value >= 0 ? [i] : []));
  return ((up.length - 1) * SECOND) / (/** @type {number} */ (up.at(-1)) - /** @type {number} */ (up[0]));
}

for (const hz of [80, 123.4, 1000, 3210]) {
  for (const ppm of [250_000, 20_000, -30_000, -200_000]) {
    test(`a tone of ${hz} Hz at ${1 + ppm / 1e6} times the speed keeps its pitch, its shape and its time`, () => {
      const bench = new Bench((at) => tone(hz, at));
      bench.ring.set(RATE, ppm);
      const out = bench.play(1.5 * SECOND).slice(480); // it fades in
      const used = bench.ring.get(READ) / 1.5 / SECOND;
      assert.ok(Math.abs(used - (1 + ppm / 1e6)) < 0.012, `${used} of the samples used`);
      assert.ok(Math.abs(frequency(out) - hz) < hz * 0.004, `${frequency(out)} Hz`);
      const slope = (Math.PI * hz) / SECOND; // of the tone, per sample
      assert.ok(steepest(out) < slope * 1.05 + 0.5 / 240, `${steepest(out)} > ${slope}`);
      assert.ok(loudest(out) < 0.51);
      assert.equal(bench.ring.get(UNDERRUNS), 0);
    });
  }
}

test('a voice is as loud, and steps no further, when it is hurried and slowed', () => {
  const own = Array.from({ length: SECOND }, (_, at) => voice(at));
  const power = (/** @type {number[]} */ samples) => samples.reduce((sum, v) => sum + v * v, 0) / samples.length;
  for (const ppm of [200_000, -150_000]) {
    const bench = new Bench(voice, 2);
    bench.ring.set(RATE, ppm);
    const out = bench.play(2 * SECOND).slice(480);
    assert.ok(steepest(out) < steepest(own) * 1.2, `${steepest(out)}, ${steepest(own)}`);
    assert.ok(Math.abs(power(out) / power(own) - 1) < 0.06, `${power(out) / power(own)}`);
  }
});

test('a small difference is made up by resampling: every sample is heard', () => {
  const bench = new Bench((at) => tone(440, at));
  bench.ring.set(RATE, 2_000);
  const out = bench.play(4 * SECOND).slice(480);
  assert.ok(Math.abs(frequency(out) - 440 * 1.002) < 0.1);
  assert.ok(Math.abs(bench.ring.get(READ) / 4 / SECOND - 1.002) < 1e-3);
});

test('silence is left out sooner than sound', () => {
  const quiet = new Bench(() => 0);
  quiet.ring.set(RATE, 50_000);
  quiet.play(SECOND);
  assert.ok(quiet.ring.get(READ) > SECOND * 1.12, `${quiet.ring.get(READ) / SECOND}`);
});

test('a speed that changes all the time leaves no step', () => {
  const bench = new Bench((at) => tone(300, at));
  /** @type {number[]} */ const out = [];
  for (let i = 0; i < 200; i++) {
    bench.ring.set(RATE, [0, 250_000, -2_000, 40_000, -200_000, 1_500][i % 6] ?? 0);
    out.push(...bench.play(BLOCK * (1 + (i % 5))));
  }
  assert.ok(steepest(out.slice(480)) < (Math.PI * 300) / SECOND * 1.1 + 0.5 / 240);
});

test('a skip is no click, lands where it was to land, and is heard once', () => {
  const bench = new Bench((at) => tone(440, at), 1, 20_000);
  bench.play(4800);
  bench.ring.set(SKIP_TO, bench.ring.get(READ) + 9_000);
  const before = bench.ring.get(READ);
  const out = bench.play(4800);
  const skipped = bench.ring.get(READ) - before - 4800 - (out.length - 4800);
  assert.ok(skipped >= 9_000 && skipped <= 9_480, `${skipped}`);
  assert.ok(steepest(out) < (Math.PI * 440) / SECOND * 1.1);
  assert.equal(bench.ring.get(RUNNING), 1);
});

test('speed is not made up by what is not there: it never runs dry of its own', () => {
  const bench = new Bench((at) => tone(440, at), 1, 600);
  bench.ring.set(RATE, 250_000);
  bench.play(SECOND);
  assert.equal(bench.ring.get(UNDERRUNS), 0);
});

for (const hz of [90, 440, 1000]) {
  test(`where the ring is dry a tone of ${hz} Hz goes on, fades, and comes back without a step`, () => {
    const bench = new Bench((at) => tone(hz, at));
    bench.play(4800);
    const dry = bench.play(4800 + 6_000, false);
    assert.equal(bench.ring.get(UNDERRUNS), 1);
    assert.equal(bench.ring.get(RUNNING), 0);
    const made = bench.ring.get(CONCEALED);
    assert.ok(made > 2600 && made <= 2880 + BLOCK, `${made}`);
    assert.ok(Math.abs(frequency(dry.slice(0, 4800 + 480)) - hz) < hz * 0.01, 'it keeps its pitch');
    assert.ok(Math.max(...dry.slice(4800, 4800 + 480)) > 0.45, 'for a moment it is as loud as before');
    assert.ok(dry.slice(-480).every((value) => value === 0), 'and then silent');
    const back = bench.play(2_000);
    assert.ok(steepest([...dry, ...back]) < (Math.PI * hz) / SECOND * 1.1 + 0.5 / 240);
    assert.ok(Math.max(...back.slice(-1_000)) > 0.49);
  });
}

test('a gap of a few milliseconds is bridged by what fades into what comes', () => {
  const bench = new Bench((at) => tone(440, at), 2);
  bench.play(4800);
  const gap = bench.play(4800 + 300, false);
  const out = [...gap, ...bench.play(4800)];
  assert.ok(steepest(out) < (Math.PI * 440) / SECOND * 1.1 + 0.5 / 240);
  const loud = Array.from({ length: Math.floor(out.length / 480) }, (_, i) => Math.max(...out.slice(i * 480, i * 480 + 480)));
  assert.ok(Math.min(...loud) > 0.2, `${loud}`);
});

test('silence that is asked for comes and goes without a step, and counts as nothing missing', () => {
  const bench = new Bench((at) => tone(200, at));
  bench.play(4800);
  bench.ring.set(HOLD, 9_600);
  const played = bench.ring.get(PLAYED);
  const out = bench.play(4 * 4800);
  assert.ok(Math.abs(bench.ring.get(PLAYED) - played - (4 * 4800 - 9_600)) < 3 * BLOCK);
  assert.ok(steepest(out) < (Math.PI * 200) / SECOND * 1.1 + 0.5 / 240);
  assert.deepEqual([bench.ring.get(UNDERRUNS), bench.ring.get(CONCEALED)], [0, 0]);
});

test('what begins anew leaves nothing of what was before, and no step', () => {
  let hz = 440;
  const bench = new Bench((at) => tone(hz, at));
  bench.play(4800);
  bench.ring.set(SKIP_TO, bench.ring.get(WRITTEN));
  hz = 880;
  bench.write(4800);
  const out = bench.play(9_600);
  assert.ok(Math.abs(frequency(out.slice(3_000)) - 880) < 9);
  assert.ok(steepest(out) < (Math.PI * 880) / SECOND * 1.1 + 1 / 240);
});

test('the period of a tone is found, and of a voice', () => {
  const piece = Float32Array.from({ length: 240 }, (_, i) => voice(i));
  const field = Float32Array.from({ length: MAX_LAG + 240 }, (_, i) => voice(120 + i));
  const lag = 120 + mostSimilar(piece, 240, field, MAX_LAG - 120 + 1);
  assert.ok(Math.abs(lag - SECOND / 110) <= 1, `${lag}`);
});

test('noise is continued, fading, and never louder than it was', () => {
  let seed = 1;
  const next = () => (seed = (seed * 1664525 + 1013904223) >>> 0) / 2 ** 31 - 1;
  const continuation = new Continuation(1);
  const [history] = continuation.history;
  assert.ok(history?.length === HISTORY);
  for (let i = 0; i < HISTORY; i++) history[i] = next() / 4;
  continuation.begin([history[HISTORY - 1] ?? 0]);
  const made = Array.from({ length: 4800 }, (_, i) => continuation.sample(0, i));
  const peak = (/** @type {number} */ from) => Math.max(...made.slice(from, from + 480).map(Math.abs));
  assert.ok(peak(0) < 0.51 && peak(0) > 0.2);
  assert.ok(peak(1440) < peak(480) && peak(2400) < peak(1440));
  assert.ok(made.slice(2880).every((value) => value === 0));
});
