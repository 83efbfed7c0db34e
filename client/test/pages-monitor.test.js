import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventReader } from '../src/pages/monitor/events.js';
import * as model from '../src/pages/monitor/model.js';

/** @param {Partial<model.Session>} session @returns {model.Session} */
const session = (session) => ({
  id: 'a', broadcast: 'cam', client: '', ageS: 1, bytesSent: 0, framesSent: 0, framesDropped: 0, rttUs: 0, loss: 0, queueingUs: 0, queuedBytes: 0,
  estimateBps: 0, rendition: 0, renditionReason: '', worker: 0, streamsReset: 0, latencyMs: {}, ...session,
});

test('a rate is what was sent between two looks, and of whom was there before only', () => {
  const rates = new model.Rates();
  assert.deepEqual([...rates.update([{ id: 'a', bytesSent: 1000 }], 0)], []);
  assert.deepEqual([...rates.update([{ id: 'a', bytesSent: 2000 }, { id: 'b', bytesSent: 9 }], 500)], [['a', 16_000]]);
  assert.deepEqual([...rates.update([{ id: 'b', bytesSent: 9 }], 1500)], [['b', 0]]);
  assert.deepEqual([...rates.update([{ id: 'a', bytesSent: 3000 }], 2500)], [], 'who was away is seen anew');
  assert.deepEqual([...rates.update([{ id: 'a', bytesSent: 3000 }], 2500)], [], 'no time has passed');
  assert.deepEqual([...rates.update([{ id: 'a', bytesSent: 1000 }], 3500)], [['a', 0]], 'a counter that begins anew is no negative rate');
});

test('rates add up by broadcast', () => {
  const sessions = [session({ id: 'a' }), session({ id: 'b' }), session({ id: 'c', broadcast: 'desk' })];
  assert.deepEqual([...model.rateOfBroadcasts(sessions, new Map([['a', 5], ['b', 7]]))], [['cam', 12], ['desk', 0]]);
});

test('sorting leaves the list alone and equal ones in their order', () => {
  const list = [session({ id: 's10', rttUs: 3 }), session({ id: 's9', rttUs: 3 }), session({ id: 's1', rttUs: 9 })];
  /** @param {model.Session[]} of */
  const ids = (of) => of.map(({ id }) => id);
  assert.deepEqual(ids(model.sorted(list, (s) => s.rttUs, true)), ['s1', 's10', 's9']);
  assert.deepEqual(ids(model.sorted(list, (s) => s.rttUs, false)), ['s10', 's9', 's1']);
  assert.deepEqual(ids(model.sorted(list, (s) => s.id, false)), ['s1', 's9', 's10'], 'numbers in names count as such');
  assert.deepEqual(ids(list), ['s10', 's9', 's1']);
});

test('sizes, ages and delays in words', () => {
  const words = [0, 999, 1000, 1024 ** 2 * 1.5, 1024 ** 3 * 40, -5].map((bytes) => model.formatBytes(bytes).replace('\u00a0', ' '));
  assert.deepEqual(words, ['0 B', '999 B', '1.0 KiB', '1.5 MiB', '40 GiB', '0 B']);
  const ages = [0, 59.9, 61, 3600, 86_400 + 7200].map((s) => model.formatAge(s).replaceAll('\u00a0', ' '));
  assert.deepEqual(ages, ['0 s', '59 s', '1 min 1 s', '1 h 0 min', '1 d 2 h']);
  assert.equal(model.totalMs({ capture: 2, encode: 3.5, paint: -1 }), 5.5);
  assert.equal(model.totalMs({}), 0);
});

test('what happened in words, with what belongs to it', () => {
  const live = model.eventWords({ kind: 'broadcast.available', at: 0, number: 1, fields: { broadcast: 'cam' } });
  assert.deepEqual(live, { what: 'cam is live', detail: '', trouble: false, broadcast: 'cam', session: '' });
  const died = model.eventWords({ kind: 'source.died', at: 0, number: 2, fields: { broadcast: 'cam', reason: 'SIGSEGV', pid: 7 } });
  assert.deepEqual([died.what, died.detail, died.trouble], ['cam lost the process of its source', 'SIGSEGV · pid 7', true]);
  const left = model.eventWords({
    kind: 'session.closed', at: 0, number: 4,
    fields: { broadcast: 'cam', session: 's1', reason: '', worker: 0, code: 0, durationS: 61, framesSent: 1, bytesSent: 2, address: '::1' },
  });
  assert.deepEqual([left.what, left.detail.replaceAll('\u00a0', ' '), left.session], ['cam has lost a viewer', 'after 1 min 1 s · address ::1', 's1']);
  const unknown = model.eventWords({ kind: 'moon.rose', at: 0, number: 3, fields: {} });
  assert.deepEqual([unknown.what, unknown.trouble], ['moon.rose', false]);
});

test('addresses of pages lead back to what they were made of', () => {
  for (const name of ['cam', 'a/b', 'é %2f']) {
    assert.deepEqual(model.placeOf(model.placeHref('broadcast', name)), { page: 'broadcast', name });
  }
  assert.deepEqual(model.placeOf('#/session/0a1b'), { page: 'session', name: '0a1b' });
  for (const hash of ['', '#', '#/', '#/session/', '#/else/a', '#/session/%zz']) assert.deepEqual(model.placeOf(hash), { page: 'overview' });
});

test('events come out whole however the stream is cut', () => {
  const stream = ': a heartbeat\n\nid: x-1\nevent: message\ndata: {"a":1}\n\nid: x-2\r\ndata: one\r\ndata: two\r\n\r\ndata:no space\n\n';
  const whole = new EventReader();
  const expected = ['{"a":1}', 'one\ntwo', 'no space'];
  assert.deepEqual(whole.feed(stream), expected);
  assert.equal(whole.lastId, 'x-2', 'an event without an id has that of the one before');
  for (let cut = 1; cut < stream.length; cut++) {
    const reader = new EventReader();
    assert.deepEqual([...reader.feed(stream.slice(0, cut)), ...reader.feed(stream.slice(cut))], expected, `cut at ${cut}`);
  }
});

test('a line without an end is not collected for ever', () => {
  const reader = new EventReader();
  assert.throws(() => { for (let i = 0; i < 100; i++) reader.feed('x'.repeat(1000)); }, RangeError);
});
