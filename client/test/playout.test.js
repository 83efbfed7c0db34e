/**
 * Sound from decoder to ear in simulated time: a worklet that takes blocks in bursts as a sound
 * card does, and packets of 20 ms that come with jitter. The timestamp of each sample is its value.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ringBytes } from '../src/audio/ring.js';
import { RingPlayer } from '../src/audio/ring_player.js';
import { ClockSync } from '../src/media/clock.js';
import { Playout } from '../src/worker/playout.js';
import { SharedWriter } from '../src/worker/ring_writer.js';
import { Timeline } from '../src/worker/timeline.js';

const RATE = 48000;
const PACKET = 960;
const PACKET_US = 20_000;
const BLOCK = 128;
const BURST = 480; // a sound card that asks every 10 ms
const EPOCH = 1.79e15; // local and gateway clocks are far apart

/** @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

/** A player in simulated time; `delay(i)` is how long after its end packet i is decoded, null: never. */
class Simulation {
  clock = new ClockSync();
  timeline = new Timeline(() => this.clock);
  playout = new Playout(this.timeline);
  now = 0;
  /** @type {number[]} */ out = [];
  /** @type {{at: number, heard: number}[]} */ heard = [];
  #packet = 0;
  /** @type {{at: number, index: number}[]} */ #coming = [];
  #taken = 0;

  /**
   * @param {(index: number) => number | null} delay µs @param {number} [cardPpm] how much the sound card is too fast
   * @param {(at: number) => number} [wave] the samples, if not their own timestamps
   */
  constructor(delay, cardPpm = 0, wave) {
    this.keep = wave !== undefined;
    this.wave = wave ?? ((/** @type {number} */ at) => at / RATE);
    this.delay = delay;
    this.cardRate = RATE * (1 + cardPpm / 1e6);
    const writer = new SharedWriter(/** @type {any} */ (new ArrayBuffer(ringBytes(1, RATE * 2))), 1, RATE * 2);
    this.ring = writer.ring;
    this.player = new RingPlayer(this.ring);
    this.playout.setWriter(writer, RATE);
  }

  /** @param {number} seconds */
  run(seconds) {
    const end = this.now + seconds * 1e6;
    for (; this.now < end; this.now += 1000) {
      this.#arrive();
      while (this.#taken + BURST <= (this.now / 1e6) * this.cardRate) this.#take();
    }
  }

  #arrive() {
    while ((this.#packet + 1) * PACKET_US <= this.now) {
      const index = this.#packet++;
      const delay = this.delay(index);
      if (delay !== null) this.#coming.push({ at: this.now + delay, index });
    }
    this.#coming.sort((a, b) => a.index - b.index);
    while (this.#coming[0] && this.#coming[0].at <= this.now) {
      const { index } = /** @type {{index: number}} */ (this.#coming.shift());
      const pts = EPOCH + index * PACKET_US;
      this.playout.need.add(this.now - pts, this.now);
      this.playout.write([Float32Array.from({ length: PACKET }, (_, i) => this.wave(index * PACKET + i))], pts, this.now);
    }
  }

  #take() {
    for (let block = 0; block < 4; block++) {
      const plane = new Float32Array(BLOCK);
      this.player.render([plane]);
      if (this.keep) this.out.push(...plane);
      if (plane[64]) this.heard.push({ at: this.now, heard: /** @type {number} */ (plane[64]) });
    }
    this.#taken += BLOCK * 4;
  }

  /** How long after its capture the last samples were taken, ms. @param {number} [count] */
  delays(count = 200) {
    return this.heard.slice(-count).map(({ at, heard }) => at / 1000 - heard * 1000);
  }
}

const average = (/** @type {number[]} */ values) => values.reduce((a, b) => a + b, 0) / values.length;

test('without jitter sound is taken soon after its packet is there, and never runs dry', () => {
  const simulation = new Simulation(() => 2_000);
  simulation.run(20);
  assert.equal(simulation.playout.underruns, 0);
  assert.ok(average(simulation.delays()) < 45, `${average(simulation.delays())} ms`);
  assert.ok(simulation.playout.playedMs > 19_800);
});

test('jitter makes the ring as deep as it must be and no deeper', () => {
  const next = random(7);
  const simulation = new Simulation(() => 2_000 + next() * 40_000);
  simulation.run(10);
  const early = simulation.playout.underruns;
  simulation.run(50);
  assert.ok(simulation.playout.underruns - early <= 3, `${simulation.playout.underruns - early} underruns`);
  assert.ok(average(simulation.delays()) < 110, `${average(simulation.delays())} ms`);
});

test('after jitter ends the sound catches up', () => {
  const next = random(3);
  const simulation = new Simulation((i) => (i < 500 ? 2_000 + next() * 120_000 : 2_000));
  simulation.run(10);
  const before = average(simulation.delays());
  simulation.run(7);
  const after = average(simulation.delays(50));
  assert.ok(after < 55 && after < before - 40, `${before} -> ${after} ms`);
});

test('a stall is not paid for ever: what came late is dropped', () => {
  const simulation = new Simulation((i) => (i >= 250 && i < 275 ? (275 - i) * PACKET_US : 2_000));
  simulation.run(5);
  const before = average(simulation.delays());
  simulation.run(15);
  assert.ok(Math.abs(average(simulation.delays()) - before) < 25);
  assert.ok(simulation.playout.underruns >= 1);
});

for (const ppm of [-200, 200]) {
  test(`a sound card that is off by ${ppm} ppm neither runs dry nor piles up`, () => {
    const simulation = new Simulation(() => 2_000, ppm);
    simulation.run(120);
    assert.equal(simulation.playout.underruns, 0);
    assert.ok(average(simulation.delays()) < 50, `${average(simulation.delays())} ms`);
  });
}

test('a packet that never comes is bridged without shifting what follows', () => {
  const simulation = new Simulation((i) => (i === 300 ? null : 2_000));
  simulation.run(5.9);
  const before = average(simulation.delays());
  simulation.run(2);
  assert.ok(Math.abs(average(simulation.delays(100)) - before) < 12);
});

test('smooth takes samples at the delay asked for, and asap returns from there', () => {
  const simulation = new Simulation(() => 2_000);
  simulation.clock.add(0, EPOCH + 1, EPOCH + 1, 2);
  simulation.run(3);
  simulation.timeline.mode = 'smooth';
  simulation.playout.modeChanged(simulation.now);
  simulation.run(10);
  assert.ok(Math.abs(average(simulation.delays()) - 500) < 12, `${average(simulation.delays())} ms`);
  simulation.timeline.mode = 'asap';
  simulation.playout.modeChanged(simulation.now);
  simulation.run(10);
  assert.ok(average(simulation.delays()) < 60);
});

test('sync lets the sound wait for a slower picture', () => {
  const simulation = new Simulation(() => 2_000);
  simulation.timeline.mode = 'sync';
  for (let ms = 0; ms < 20_000; ms += 33) {
    simulation.timeline.pictures.add(ms * 1000 + 120_000 - (EPOCH + ms * 1000), ms * 1000);
  }
  simulation.playout.outputUs = 20_000;
  simulation.run(15);
  assert.ok(Math.abs(average(simulation.delays()) - 102) < 12, `${average(simulation.delays())} ms`);
});

const tone = (/** @type {number} */ at) => 0.5 * Math.sin((2 * Math.PI * 440 * at) / RATE);
const STEEPEST = ((Math.PI * 440) / RATE) * 1.15 + 0.5 / 240; // of the tone, and of a fade

/** @param {number[]} out @returns {{step: number, quietMs: number}} the largest step, and the longest time without sound */
function flaws(out) {
  let [step, quiet, longest] = [0, 0, 0];
  for (let i = 1; i < out.length; i++) {
    step = Math.max(step, Math.abs(/** @type {number} */ (out[i]) - /** @type {number} */ (out[i - 1])));
    quiet = Math.abs(/** @type {number} */ (out[i])) < 0.05 ? quiet + 1 : 0;
    longest = Math.max(longest, quiet);
  }
  return { step, quietMs: (longest * 1000) / RATE };
}

test('the mode is changed without a click, a gap or a skip: the sound comes a little slower or faster for a moment', () => {
  const simulation = new Simulation(() => 2_000, 0, tone);
  simulation.clock.add(0, EPOCH + 1, EPOCH + 1, 2);
  simulation.run(3);
  const begun = simulation.out.length;
  for (const mode of /** @type {const} */ (['smooth', 'asap', 'smooth', 'sync'])) {
    simulation.timeline.mode = mode;
    simulation.playout.modeChanged(simulation.now);
    simulation.run(4);
    const wanted = mode === 'smooth' ? 465 : 30;
    assert.ok(Math.abs(simulation.playout.bufferMs - wanted) < 25, `${mode}: ${simulation.playout.bufferMs} ms in the ring`);
  }
  const { step, quietMs } = flaws(simulation.out.slice(begun));
  assert.ok(step < STEEPEST, `a step of ${step}`);
  assert.ok(quietMs < 2, `${quietMs} ms of silence`);
  assert.deepEqual([simulation.playout.underruns, simulation.playout.concealedMs], [0, 0]);
});

test('packets that never come are made up: nobody hears a hole, and all of it is counted', () => {
  const simulation = new Simulation((i) => (i > 100 && i % 11 === 0 ? null : 2_000), 0, tone);
  simulation.run(2);
  const begun = simulation.out.length;
  simulation.run(10);
  const { step, quietMs } = flaws(simulation.out.slice(begun));
  assert.ok(step < STEEPEST, `a step of ${step}`);
  assert.ok(quietMs < 6, `${quietMs} ms of silence`);
  const missing = Math.floor(599 / 11) - Math.floor(100 / 11);
  assert.ok(Math.abs(simulation.playout.concealedPackets - missing) <= 4, `${simulation.playout.concealedPackets} of ${missing}`);
});

test('a packet whose place was filled comes after all: from then on it is waited for longer', () => {
  const simulation = new Simulation((i) => (i === 200 ? null : 2_000));
  simulation.run(4.1);
  const before = simulation.playout.need.marginUs;
  simulation.playout.arrived(EPOCH + 150 * PACKET_US, simulation.now);
  assert.equal(simulation.playout.need.marginUs, before);
  simulation.playout.arrived(EPOCH + 200 * PACKET_US, simulation.now);
  assert.ok(simulation.playout.need.marginUs > before);
  const { marginUs } = simulation.playout.need;
  simulation.playout.arrived(EPOCH + 200 * PACKET_US, simulation.now);
  assert.equal(simulation.playout.need.marginUs, marginUs, 'once');
});

test('when jitter grows the ring becomes deeper without silence', () => {
  const next = random(9);
  const simulation = new Simulation((i) => 2_000 + (i > 250 ? next() * 50_000 : 0), 0, tone);
  simulation.run(20);
  const late = simulation.out.slice(-8 * RATE);
  assert.ok(flaws(late).quietMs < 12, `${flaws(late).quietMs} ms`);
  assert.ok(flaws(simulation.out.slice(RATE)).step < STEEPEST);
});

test('while it is stretched the delay at which it is heard is known: pictures that follow it stay with it', () => {
  const simulation = new Simulation(() => 2_000);
  simulation.clock.add(0, EPOCH + 1, EPOCH + 1, 2);
  simulation.run(3);
  simulation.timeline.mode = 'smooth';
  simulation.playout.modeChanged(simulation.now);
  let worst = 0;
  for (let i = 0; i < 200; i++) {
    simulation.run(0.02);
    const told = (/** @type {number} */ (simulation.timeline.heardDelayUs) + EPOCH) / 1000;
    worst = Math.max(worst, Math.abs(told - average(simulation.delays(8))));
  }
  assert.ok(worst < 30, `${worst} ms`);
});

test('what the worklet has made up already is not counted again', () => {
  const simulation = new Simulation((i) => (i >= 200 && i < 206 ? null : 2_000), 0, tone);
  simulation.run(6);
  assert.equal(simulation.playout.underruns, 1);
  assert.ok(simulation.playout.concealedMs <= 65 && simulation.playout.concealedMs > 40, `${simulation.playout.concealedMs} ms`);
});

test('of sound that is sent three times, one packet in ten being lost, hardly anything is made up', () => {
  const next = random(2);
  const simulation = new Simulation(() => {
    for (let copy = 0; copy < 3; copy++) if (next() > 0.1) return 2_000 + copy * PACKET_US;
    return null;
  });
  simulation.run(5);
  const before = simulation.playout.concealedMs;
  simulation.run(40);
  const share = (simulation.playout.concealedMs - before) / 40_000;
  assert.ok(share < 0.005, `${share}`);
  assert.ok(simulation.playout.bufferMs < 80, `${simulation.playout.bufferMs} ms in the ring`);
});
