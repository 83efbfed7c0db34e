import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Concealer } from '../src/worker/conceal.js';

const RATE = 48000;
const PACKET = 960;

/** @param {number} hz @param {number} from @param {number} count */
const tone = (hz, from, count) => Float32Array.from({ length: count }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * (from + i)) / RATE));

/** @param {ArrayLike<number>} samples */
const steepest = (samples) => Array.from(samples).slice(1).reduce((most, value, i) => Math.max(most, Math.abs(value - /** @type {number} */ (samples[i]))), 0);

for (const hz of [150, 440, 1000]) {
  for (const count of [120, 480, PACKET, 2 * PACKET]) {
    test(`${count} missing samples of a tone of ${hz} Hz are filled so that nothing is heard of where they begin and end`, () => {
      const concealer = new Concealer(2);
      for (let i = 0; i < 4; i++) concealer.remember([tone(hz, i * PACKET, PACKET), tone(2 * hz, i * PACKET, PACKET)]);
      const at = 4 * PACKET;
      const next = [tone(hz, at + count, PACKET), tone(2 * hz, at + count, PACKET)];
      const made = concealer.fill(count, next);
      made.forEach((plane, channel) => {
        assert.equal(plane.length, count);
        const pitch = hz * (channel + 1);
        const whole = [...tone(pitch, at - PACKET, PACKET), ...plane, .../** @type {Float32Array} */ (next[channel])];
        assert.ok(steepest(whole) < ((Math.PI * pitch) / RATE) * 1.1 + 0.5 / 960, `${steepest(whole)}`);
        const wanted = tone(pitch, at, count);
        const power = (/** @type {ArrayLike<number>} */ samples) => Array.from(samples).reduce((sum, value) => sum + value * value, 0) / count;
        assert.ok(power(plane.map((value, i) => value - /** @type {number} */ (wanted[i]))) < 0.2 * power(wanted) + 0.001, 'close to what it was');
      });
    });
  }
}

test('a long gap fades to silence, and out of it', () => {
  const concealer = new Concealer(1);
  for (let i = 0; i < 4; i++) concealer.remember([tone(300, i * PACKET, PACKET)]);
  const [made] = concealer.fill(9600, [tone(300, 0, PACKET)]);
  const loud = (/** @type {number} */ from) => Math.max(.../** @type {Float32Array} */ (made).slice(from, from + 400));
  assert.ok(loud(0) > 0.45 && loud(4600) < 0.01 && loud(9200) > 0.3);
});

test('what was remembered is the end of it, however it came', () => {
  const [whole, pieces] = [new Concealer(1), new Concealer(1)];
  const wave = tone(333, 0, 3000);
  whole.remember([wave]);
  for (let i = 0; i < 3000; i += 50) pieces.remember([wave.slice(i, i + 50)]);
  const next = [tone(333, 3960, PACKET)];
  assert.deepEqual(pieces.fill(PACKET, next), whole.fill(PACKET, next));
});
