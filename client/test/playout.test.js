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

  /** @param {(index: number) => number | null} delay µs @param {number} [cardPpm] how much the sound card is too fast */
  constructor(delay, cardPpm = 0) {
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
      this.playout.write([Float32Array.from({ length: PACKET }, (_, i) => (index * PACKET + i) / RATE)], pts, this.now);
    }
  }

  #take() {
    for (let block = 0; block < 4; block++) {
      const plane = new Float32Array(BLOCK);
      this.player.render([plane]);
      this.out.push(...plane);
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
  simulation.run(20);
  const after = average(simulation.delays());
  assert.ok(after < 75 && after < before, `${before} -> ${after} ms`);
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

test('a packet that never comes is bridged by silence without shifting what follows', () => {
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
