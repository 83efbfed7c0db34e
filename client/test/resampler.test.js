import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Resampler, StreamResampler } from '../src/worker/resampler.js';

const TO = 48000;
const HZ = 440;

/** @param {number} rate @param {number} from @param {number} count */
const sine = (rate, from, count) => Float32Array.from({ length: count }, (_, i) => Math.sin((2 * Math.PI * HZ * (from + i)) / rate));

for (const rate of [8000, 11025, 22050, 32000, 44100, 96000]) {
  test(`a tone at ${rate} Hz is the same tone at the time at which it was, however it is cut`, () => {
    const resampler = new Resampler(rate, TO, 2);
    let from = 0;
    let out = 0;
    let worst = 0;
    for (const count of [1024, 1024, 100, 1, 5, 1024, 700, 2048, 1024]) {
      const { planes, aheadUs } = resampler.process([sine(rate, from, count), new Float32Array(count)]);
      const [tone, silence] = /** @type {[Float32Array, Float32Array]} */ (planes);
      assert.equal(tone.length, silence.length);
      assert.ok(silence.every((value) => value === 0));
      assert.ok(Math.abs(from / rate - aheadUs / 1e6 - out / TO) < 1e-9, 'samples follow one another');
      for (let i = 0; i < tone.length; i++) {
        const wanted = Math.sin((2 * Math.PI * HZ * (out + i)) / TO);
        if (out + i > TO / 50) worst = Math.max(worst, Math.abs(/** @type {number} */ (tone[i]) - wanted)); // after silence it begins
      }
      from += count;
      out += tone.length;
    }
    assert.ok(worst < 2e-3, `off by ${worst}`);
    assert.ok(Math.abs(out / TO - from / rate) < 0.003, 'nothing piles up');
  });
}

test('samples keep their time over timestamps that are rounded, and what does not follow begins anew', () => {
  const resampler = new StreamResampler(TO);
  const packetUs = (1024 / 44100) * 1e6;
  let endUs = 0;
  for (let i = 0; i < 50; i++) {
    const { planes, ptsUs } = resampler.process([sine(44100, i * 1024, 1024)], 44100, Math.round((i * packetUs) / 1000) * 1000);
    assert.ok(Math.abs(ptsUs - endUs) <= 1_000, `${ptsUs} after ${endUs}`);
    endUs = ptsUs + (planes[0]?.length ?? 0) / TO * 1e6;
  }
  const gap = resampler.process([sine(44100, 0, 1024)], 44100, 9e6);
  assert.equal(gap.ptsUs, 9e6);
  assert.equal(resampler.process([sine(22050, 0, 1024)], 22050, 9e6 + packetUs).planes[0]?.length, 2193, 'less what the filter waits for');
});
