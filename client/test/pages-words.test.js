import assert from 'node:assert/strict';
import { test } from 'node:test';

import { broadcastWords, sentence, shortState, stageWords } from '../src/pages/words.js';

const summary = (/** @type {object} */ fields = {}) => ({
  name: 'cam', state: 'live', reason: '', retryInMs: 0, source: '', viewers: 0, uptimeS: 0, tracks: [], ...fields,
});

/** @param {Partial<import('../src/pages/words.js').Situation>} fields */
const situation = (fields) => /** @type {import('../src/pages/words.js').Situation} */ ({
  state: 'connecting', message: '', retryInMs: 0, broadcast: 'cam', summary: summary(), reachable: true, ...fields,
});

test('each state of a broadcast has words', () => {
  assert.deepEqual(broadcastWords(summary()), { state: 'Live', detail: '' });
  assert.equal(broadcastWords(summary({ state: 'idle' })).detail, 'starts when you open it');
  assert.equal(
    broadcastWords(summary({ state: 'retrying', reason: 'connection refused', retryInMs: 3400 })).detail,
    'connection refused; trying again in 4\u00a0s',
  );
  assert.equal(broadcastWords(summary({ state: 'retrying' })).detail, 'trying again');
  assert.deepEqual(broadcastWords(summary({ state: 'new-state', reason: 'why' })), { state: 'new-state', detail: 'why' });
});

test('nothing is said over a picture that plays', () => {
  assert.equal(stageWords(situation({ state: 'playing' })), null);
});

test('a silent network is said, and nothing is to be done about it', () => {
  const words = stageWords(situation({ state: 'roaming', message: 'The network is silent. Another way is being tried…' }));
  assert.deepEqual([words?.title, words?.busy, words?.actions], ['The network is silent', true, []]);
  assert.equal(shortState('roaming'), 'network silent');
});

test('connecting needs no explanation', () => {
  for (const state of /** @type {const} */ (['idle', 'connecting', 'joining'])) {
    assert.deepEqual(stageWords(situation({ state, summary: undefined })), { title: 'Connecting', detail: '', busy: true, actions: [] });
  }
});

test('a reconnect counts down, and can be hurried only while it waits', () => {
  const words = stageWords(situation({ state: 'reconnecting', message: 'the connection was lost', retryInMs: 2600 }));
  assert.deepEqual(words, { title: 'Reconnecting in 3\u00a0s', detail: 'The connection was lost.', busy: true, actions: ['retry'] });
  assert.deepEqual(stageWords(situation({ state: 'reconnecting' }))?.actions, []);
});

test('a gateway that is away is named as the reason', () => {
  const words = stageWords(situation({ state: 'reconnecting', message: 'x', retryInMs: 5000, reachable: false }));
  assert.match(words?.detail ?? '', /gateway does not answer/);
});

test('a name that the gateway does not know is said, also while the player tries', () => {
  for (const state of /** @type {const} */ (['connecting', 'reconnecting', 'waiting'])) {
    assert.equal(stageWords(situation({ state, summary: null }))?.title, 'There is no broadcast “cam”');
  }
  assert.equal(stageWords(situation({ state: 'reconnecting', summary: null, reachable: false }))?.title, 'Reconnecting');
});

test('a source that is away says why and when it is tried again', () => {
  const words = stageWords(situation({
    state: 'waiting', message: 'the source is away', retryInMs: 4000, summary: summary({ state: 'retrying', reason: 'connection refused' }),
  }));
  assert.equal(words?.detail, 'Connection refused. The gateway tries again in 4\u00a0s.');
});

test('an ended broadcast does not pretend to wait', () => {
  const words = stageWords(situation({ state: 'waiting', summary: summary({ state: 'ended' }) }));
  assert.equal(words?.title, 'This broadcast has ended');
  assert.equal(words?.busy, false);
});

test('a failure says what the player says, and offers a way on', () => {
  const words = stageWords(situation({ state: 'failed', message: 'The decoder is gone', summary: null }));
  assert.deepEqual(words, {
    title: 'This cannot be played here', detail: 'The decoder is gone.', busy: false, actions: ['retry', 'list'],
  });
});

test('sentences and short states', () => {
  assert.equal(sentence('rtsp://10.0.0.7/1: refused'), 'rtsp://10.0.0.7/1: refused.');
  assert.equal(sentence('  what? '), 'What?');
  assert.equal(sentence(''), '');
  assert.equal(shortState('playing'), 'live');
  assert.equal(shortState('reconnecting'), 'reconnecting');
});
