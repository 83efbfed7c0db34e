/** The sound before its script is there. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Sound } from '../src/worker/sound.js';

/** @param {any} path */
const given = (path) => /** @type {any} */ ({ AudioPath: class { constructor(/** @type {any} */ sound) { Object.assign(path, { sound }); return path; } } });

function recorder() {
  /** @type {any[]} */ const calls = [];
  const told = (/** @type {string} */ name) => (/** @type {any[]} */ ...args) => calls.push([name, ...args]);
  return { calls, push: told('push'), configure: told('configure'), setOutput: told('setOutput'), newSession: told('newSession') };
}

const frame = (/** @type {number} */ index) => /** @type {any} */ ({ index });

test('it is fetched with the first packet, and what came meanwhile is not lost', async () => {
  const path = recorder();
  let fetches = 0;
  const sound = new Sound(/** @type {any} */ ({}), () => {}, async () => (fetches++, given(path)));
  sound.configure([/** @type {any} */ ({ id: 0 })]);
  sound.setOutput(true, 20_000);
  assert.equal(fetches, 0);
  for (let i = 0; i < 130; i++) sound.push(frame(i));
  assert.equal(sound.path, null);
  await Promise.resolve();
  await Promise.resolve();
  sound.push(frame(130));
  assert.equal(fetches, 1);
  assert.deepEqual(path.calls.map(([, { index }]) => index), Array.from({ length: 101 }, (_, i) => i + 30), 'bounded, the newest');
  assert.deepEqual([/** @type {any} */ (path).sound.running, /** @type {any} */ (path).sound.renditions.length], [true, 1]);
  sound.setOutput(false, 10_000);
  sound.newSession();
  assert.deepEqual(path.calls.slice(-2), [['setOutput', false, 10_000], ['newSession', false]]);
});

test('what could not be fetched is tried again, later and under another name', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const path = recorder();
  /** @type {number[]} */ const names = [];
  const sound = new Sound(/** @type {any} */ ({}), () => {}, async (failures) => {
    names.push(failures);
    if (!failures) throw new Error('offline');
    return given(path);
  });
  const settle = async () => { for (let i = 0; i < 5; i++) await Promise.resolve(); };
  sound.push(frame(0));
  await settle();
  sound.push(frame(1));
  assert.deepEqual(names, [0]);
  t.mock.timers.tick(2000);
  sound.push(frame(2));
  await settle();
  assert.deepEqual(names, [0, 1]);
  assert.equal(path.calls.length, 3);
});
