/** The rules of roaming, played as the gateway's viewer plays them (tests/vectors/roaming.json). */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Roaming } from '../src/media/roaming.js';
import { vectors } from './vectors.js';

/** @param {Roaming} roaming @param {any} step */
function take(roaming, step) {
  const at = step.at_us;
  if ('live' in step) roaming.live = step.live;
  else if ('visible' in step) roaming.visible = step.visible;
  else if ('rtt_us' in step) roaming.rttUs = step.rtt_us;
  else if ('frame' in step) return roaming.frame(step.frame, at);
  else if ('spare_frame' in step) return roaming.spareFrame(step.spare_frame, at, step.newer ?? true);
  else if ('heard' in step) return roaming.heard(at);
  else if ('drain' in step) return roaming.drain(at);
  else if ('network' in step) return roaming.networkChanged(at);
  else if ('ended' in step) return roaming.ended(at);
  else if ('spare_heard' in step) return roaming.spareHeard(at);
  else if ('spare_failed' in step) return roaming.spareFailed(at);
  else assert.ok('time' in step, JSON.stringify(step));
  return roaming.advance(at);
}

for (const { name, steps, figures } of vectors('roaming')) {
  test(`roaming: ${name}`, () => {
    const roaming = new Roaming();
    steps.forEach((/** @type {any} */ step, /** @type {number} */ at) => {
      const actions = take(roaming, step);
      const came = { actions, next_timeout_us: roaming.nextTimeout(), roaming: roaming.roaming, spare: roaming.hasSpare };
      const { actions: told, next_timeout_us, roaming: roams, spare } = step;
      assert.deepEqual(came, { actions: told, next_timeout_us, roaming: roams, spare }, `step ${at} of ${name}`);
    });
    assert.deepEqual({ roams: roaming.roams, gap_us: roaming.gapUs }, figures);
  });
}
