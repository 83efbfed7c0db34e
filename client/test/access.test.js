/** Tokens in the page and in the worker. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rememberSocket, socketWon } from '../src/main/memory.js';
import { askToken } from '../src/main/start.js';
import { keepToken, knownToken, takeToken } from '../src/pages/token.js';
import { tokenIn } from '../src/pages/token_form.js';
import { stageWords, transportWords } from '../src/pages/words.js';
import { Access } from '../src/worker/access.js';
import { refusal } from '../src/worker/addresses.js';
import { afterEnd } from '../src/worker/words.js';

/** @param {Record<string, string>} [items] */
function storage(items = {}) {
  return {
    items, getItem: (/** @type {string} */ key) => items[key] ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => { items[key] = value; },
    removeItem: (/** @type {string} */ key) => { delete items[key]; },
  };
}

/** @param {string} [token] */
function begun(token = 'one') {
  /** @type {any[]} */ const posted = [];
  /** @type {any[]} */ const sent = [];
  const access = new Access((message) => posted.push(message), (message) => sent.push(message));
  const wish = /** @type {any} */ ({ token });
  access.start(wish);
  return { access, wish, posted, sent, asked: () => posted.filter(({ type }) => type === 'tokenWanted').length };
}

const granted = (/** @type {number} */ expires_in_ms) => ({ kind: 'access', granted: true, expires_in_ms, actions: ['read'] });

test('a token is asked for before it is over, and goes to the gateway on the session that is open', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { access, wish, posted, sent, asked } = begun();
  access.told(granted(0));
  access.told(granted(3_600_000));
  t.mock.timers.tick(3_600_000);
  assert.equal(asked(), 0, 'the gateway says when it is time');
  access.told(granted(30_000));
  assert.deepEqual(posted.at(-1), { type: 'access', access: { granted: true, expiresInMs: 30_000, actions: ['read'] } });
  t.mock.timers.tick(10_000);
  assert.equal(asked(), 1);
  access.give('one');
  assert.deepEqual(sent, [], 'no other one');
  access.give('two');
  assert.deepEqual(sent, [{ kind: 'authenticate', token: 'two' }]);
  assert.equal(wish.token, 'two');
  access.told(granted(60_000));
  t.mock.timers.tick(60_000);
  assert.equal(asked(), 1);
});

test('tokens of seconds are not asked for on and on', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { access, asked } = begun();
  access.told(granted(10));
  t.mock.timers.tick(999);
  assert.equal(asked(), 0);
  t.mock.timers.tick(1);
  assert.equal(asked(), 1);
  access.told(granted(20_000));
  access.stop();
  t.mock.timers.tick(60_000);
  assert.equal(asked(), 1, 'no session');
});

test('after a refusal the page is asked once, until it was let in', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { access, sent, asked } = begun();
  const first = access.renewed();
  access.give('two');
  assert.equal(await first, true);
  assert.equal(await access.renewed(), false);
  assert.equal(asked(), 1);
  access.told({ kind: 'access', granted: false, expires_in_ms: 0, actions: [] });
  assert.equal(await access.renewed(), false, 'that was no grant');
  access.told(granted(0));
  const second = access.renewed();
  access.give('two');
  assert.equal(await second, false, 'the same');
  access.told(granted(0));
  const third = access.renewed();
  t.mock.timers.tick(10_000);
  assert.equal(await third, false, 'no answer');
  access.told(granted(0));
  const last = access.renewed();
  access.stop();
  assert.equal(await last, false);
  assert.deepEqual(sent, []);
});

test('what pages answer is a refusal or is none', () => {
  for (const [status, code, final] of /** @type {const} */ ([[401, 'unauthorized', true], [403, 'forbidden', true], [429, 'limit', false]])) {
    const told = refusal({ status, retryMs: 30_000 });
    assert.deepEqual([told?.code, told?.final], [code, final]);
    assert.ok(status !== 429 || told?.leastMs === 30_000);
  }
  for (const other of [{ status: 404 }, { status: 503 }, new TypeError('no network'), undefined]) assert.equal(refusal(other), null);
});

test('a refusal has words of its own, whatever the gateway says', () => {
  for (const [code, name] of /** @type {const} */ ([[0x30, 'unauthorized'], [0x31, 'forbidden'], [0x32, 'revoked'], [0x33, 'kicked'], [0x34, 'limit']])) {
    const end = afterEnd({ code, reason: 'signature mismatch', clean: true }, { reason: 'kid 7', retry_after_ms: 0 });
    assert.equal(end.code, name);
    assert.doesNotMatch(end.why, /signature|kid/);
    const words = stageWords(/** @type {any} */ ({ state: end.state, message: end.why, code: end.code, retryInMs: 0, broadcast: 'cam', summary: undefined, reachable: true }));
    assert.ok(words && words.title !== 'This cannot be played here' && words.title !== 'Reconnecting', name);
    assert.equal(words.form ?? false, !['kicked', 'limit'].includes(name));
  }
});

test('the token leaves the address bar and stays in the tab', () => {
  const kept = storage();
  /** @type {any[]} */ const replaced = [];
  const past = { state: 5, replaceState: (/** @type {any[]} */ ...args) => void replaced.push(args) };
  assert.equal(takeToken({ href: 'https://host/cam?token=a.b%2Bc&delivery=auto#top' }, past, kept), 'a.b+c');
  assert.deepEqual(replaced, [[5, '', 'https://host/cam?delivery=auto#top']]);
  assert.deepEqual(kept.items, { 'wtgateway.token': 'a.b+c' });
  assert.equal(takeToken({ href: 'https://host/cam' }, past, kept), 'a.b+c');
  assert.equal(takeToken({ href: 'https://host/cam?token=' }, past, kept), 'a.b+c');
  assert.equal(replaced.length, 2);
  const refuses = { getItem() { throw new Error('off'); }, setItem() { throw new Error('off'); } };
  keepToken('other', refuses);
  assert.equal(knownToken(refuses), 'other', 'without storage until the page goes');
});

test('a token is found in what was pasted', () => {
  assert.equal(tokenIn(' https://host/cam?x=1&token=abc \n'), 'abc');
  assert.equal(tokenIn('abc.def-_~'), 'abc.def-_~');
  for (const nothing of ['', '  ', 'two words', 'https://host/cam']) assert.equal(tokenIn(nothing), '');
});

test('a page gives a token, or what gives one', async () => {
  assert.equal(await askToken('abc'), 'abc');
  assert.equal(await askToken(async () => 'abc'), 'abc');
  assert.equal(await askToken(() => 'abc'), 'abc');
  assert.equal(await askToken(undefined), '');
  assert.equal(await askToken(() => { throw new Error('no'); }), '');
  assert.equal(await askToken(/** @type {any} */ (async () => 7)), '');
});

test('that a WebSocket won is remembered for ten minutes, of each gateway', () => {
  const kept = storage();
  const [url, other] = ['https://one/base', 'https://two/base'];
  assert.equal(socketWon(url, kept, 1000), false);
  rememberSocket(url, true, kept, 1000);
  assert.deepEqual([socketWon(url, kept, 1000), socketWon('https://one/else', kept, 1000), socketWon(other, kept, 1000)], [true, true, false]);
  assert.deepEqual([socketWon(url, kept, 600_999), socketWon(url, kept, 601_000), socketWon(url, kept, 999)], [true, false, false]);
  rememberSocket(url, false, kept, 2000);
  assert.equal(socketWon(url, kept, 2000), false);
  assert.equal(socketWon(url, null, 0), false);
});

test('what frames come over, in words', () => {
  assert.equal(transportWords({ transport: 'webtransport', transportReason: '' }), 'WebTransport');
  assert.equal(transportWords({ transport: 'websocket', transportReason: 'udp-blocked' }), 'WebSocket (UDP is blocked)');
  assert.equal(transportWords({ transport: 'websocket', transportReason: 'asked' }), 'WebSocket');
});
