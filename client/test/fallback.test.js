/** Where UDP is blocked: a WebSocket in place of WebTransport, and back. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { begun, EPOCH_US, FRAME_US, opening, picture, settle, Socket, Transport } from './playing.js';

const webSocketUrl = 'wss://gateway/_ws/';
/** The script is there, but not before some promises have been kept. */
const fetched = async () => { for (let i = 0; i < 200 && !Socket.all.length; i++) await settle(); };

/** A player that plays over a WebSocket. @param {import('node:test').TestContext} t @param {Partial<import('../src/types.js').StartMessage>} [wish] */
async function fallen(t, wish) {
  const player = await begun(t, wish, { blocked: true, webSocketUrl });
  await player.pass(500);
  await fetched();
  const [socket] = /** @type {[Socket]} */ (Socket.all);
  await socket.accept();
  await player.playOn(socket);
  return Object.assign(player, { socket });
}

test('a WebSocket is opened 500 ms after WebTransport, and plays', async (t) => {
  const player = await begun(t, { token: 'a+b', codecs: 'opus' }, { blocked: true, webSocketUrl });
  await player.pass(490);
  await settle();
  assert.deepEqual([Transport.all.length, Socket.all.length], [1, 0], 'not sooner');
  await player.pass(10);
  await fetched();
  const [socket] = /** @type {[Socket]} */ (Socket.all);
  const [first] = /** @type {[Transport]} */ (Transport.all);
  assert.equal(socket.url, `wss://gateway/_ws/cam?${first.query.toString().replaceAll('%2C', ',')}`.replace('%2Cvideo', ',video'));
  assert.deepEqual([socket.query.get('token'), first.query.get('token'), socket.query.get('codecs')], ['a+b', 'a+b', 'opus']);
  assert.equal(player.connector.state, 'connecting');
  await socket.accept();
  await player.playOn(socket);
  assert.equal(first.end?.closeCode, 0, 'the other one is closed');
  const { transport, transportReason } = player.connector;
  assert.deepEqual([transport, transportReason], ['websocket', 'udp-blocked']);
  assert.deepEqual(player.posted.filter(({ type }) => type === 'opened'), [{ type: 'opened', kind: 'websocket', reason: 'udp-blocked' }]);
  assert.equal(player.engine.viewing.delivery, 'stream', 'as was wished for');
  assert.ok(socket.heard('progress').length > 0);
});

test('WebTransport that answers before the WebSocket does is used', async (t) => {
  const player = await begun(t, {}, { webSocketUrl });
  const [first] = /** @type {[Transport]} */ (Transport.all);
  await player.playOn(first);
  await player.pass(600, () => player.answer(first));
  assert.deepEqual([Socket.all.length, player.connector.transport, player.connector.transportReason], [0, 'webtransport', '']);
});

test('where a WebSocket won a short while ago both are opened at once', async (t) => {
  await begun(t, { socketWon: true }, { blocked: true, webSocketUrl });
  await fetched();
  assert.deepEqual([Transport.all.length, Socket.all.length], [1, 1]);
});

test('a wish for one of the two', async (t) => {
  const player = await begun(t, { transport: 'websocket' }, { webSocketUrl });
  await fetched();
  const [socket] = /** @type {[Socket]} */ (Socket.all);
  await socket.accept();
  await player.playOn(socket);
  assert.deepEqual([Transport.all.length, player.connector.transportReason], [0, 'asked']);
  await player.play(socket, 40_000);
  assert.equal(Transport.all.length, 0, 'nor later');
});

test('a gateway that takes no WebSockets', async (t) => {
  const player = await begun(t, { transport: 'websocket' });
  await player.pass(100);
  assert.deepEqual([player.connector.state, player.states.at(-1)], ['failed', 'failed']);
  assert.match(/** @type {any} */ (player.posted.findLast(({ type }) => type === 'state')).message, /takes no WebSockets/);
});

test('WebTransport takes over when UDP is back: no gap, no new start', async (t) => {
  const player = await fallen(t);
  const { connector, engine, painted, play, socket, posted, states, pass } = player;
  await play(socket, 4400);
  assert.equal(Transport.all.length, 1);
  await play(socket, 800);
  assert.equal(Transport.all.length, 2, 'soon');
  await play(socket, 20_040);
  assert.ok(Transport.all[1]?.end, 'it was waited for');
  Transport.blocked = false;
  await play(socket, 10_000);
  assert.equal(Transport.all.length, 3, 'every 30 s');
  const back = /** @type {Transport} */ (Transport.all[2]);
  const number = player.next;
  assert.equal(back.query.get('resume'), 'T1');
  back.say(...opening('i1', { token: 'T2' }));
  back.frame(picture(number - 1));
  await pass(10);
  assert.equal(socket.end, null, 'what is there already is no reason');
  back.frame(picture(number));
  back.frame(picture(number + 1));
  await pass(10);
  assert.deepEqual(socket.end, { code: 1000, reason: 'another session of this viewer took its place' });
  assert.deepEqual([connector.transport, connector.transportReason, connector.roams, connector.reconnects], ['webtransport', '', 1, 0]);
  assert.deepEqual([back.end, engine.video.lost, engine.video.outOfOrder], [null, 0, 0]);
  assert.deepEqual(painted.map((us) => Math.round((us - EPOCH_US) / FRAME_US)), Array.from({ length: number + 2 }, (_, i) => i), 'each once, in order');
  assert.deepEqual(posted.filter(({ type }) => type === 'opened').map((message) => /** @type {any} */ (message).kind), ['websocket', 'webtransport']);
  assert.deepEqual(states, ['connecting', 'joining', 'playing'], 'nobody saw it');
  await pass(100, () => back.say({ kind: 'state', state: 'live', reason: '', retry_in_ms: 0 }));
  assert.equal(Transport.all.length, 3);
});

test('a change of the network is a reason to try WebTransport, but attempts have an end', async (t) => {
  const { connector, play, socket } = await fallen(t);
  for (let seconds = 0; seconds < 90; seconds += 3) {
    connector.networkChanged('change');
    await play(socket, 3000);
  }
  assert.equal(Transport.all.length, 1 + 11, 'a browser holds more of them back');
  assert.equal(connector.state, 'playing');
});

test('a change of the network during an attempt is followed by another one', async (t) => {
  const { connector, play, socket } = await fallen(t);
  connector.networkChanged('change');
  assert.equal(Transport.all.length, 2);
  await play(socket, 400);
  connector.networkChanged('change');
  connector.networkChanged('online');
  await play(socket, 1560);
  assert.equal(Transport.all.length, 2);
  await play(socket, 80);
  assert.deepEqual([Transport.all.length, Boolean(Transport.all[1]?.end)], [3, true]);
  await play(socket, 20_000);
  assert.equal(Transport.all.length, 3);
});

test('a WebSocket that breaks off is followed by another one at once', async (t) => {
  const { connector, pass, socket, painted } = await fallen(t);
  socket.lose();
  await pass(20);
  const [, second] = /** @type {[Socket, Socket]} */ (Socket.all);
  assert.deepEqual([second.query.get('resume'), second.query.get('after'), connector.state], ['T1', '0.3.7.9', 'roaming']);
  await second.accept();
  second.say(...opening('i1'));
  second.frame(picture(10));
  await pass(40);
  assert.deepEqual([connector.state, painted.length, connector.roams, connector.reconnects], ['playing', 11, 1, 0]);
});

test('UDP that is blocked in the middle: the second attempt goes over a WebSocket', async (t) => {
  const player = await begun(t, {}, { webSocketUrl });
  const [first] = /** @type {[Transport]} */ (Transport.all);
  await player.playOn(first);
  Transport.blocked = true;
  await player.pass(270);
  assert.deepEqual([Transport.all.length, Socket.all.length], [2, 0]);
  await player.connector.loadRacing();
  await player.pass(1000);
  assert.deepEqual([Transport.all.length, Socket.all.length], [2, 1]);
  const [socket] = /** @type {[Socket]} */ (Socket.all);
  await socket.accept();
  socket.say(...opening('i1'));
  socket.frame(picture(10));
  await player.pass(20);
  assert.deepEqual([player.connector.state, player.connector.transport, player.connector.transportReason], ['playing', 'websocket', 'udp-blocked']);
});

test('an end with a code of the protocol is told as over WebTransport', async (t) => {
  const { connector, socket, pass, posted } = await fallen(t, { token: 'old' });
  socket.lose(4000 + 0x32);
  await pass(20);
  assert.equal(connector.state, 'failed');
  assert.equal(/** @type {any} */ (posted.findLast(({ type }) => type === 'state')).code, 'revoked');
});

test('a session that is ended for its token begins again with another one, asked for once', async (t) => {
  const { connector, engine, socket, pass, posted, states } = await fallen(t, { token: 'old' });
  socket.lose(4000 + 0x30);
  await pass(20);
  assert.equal(posted.filter(({ type }) => type === 'tokenWanted').length, 1);
  engine.receive({ type: 'token', token: 'new' });
  await pass(20);
  const next = /** @type {Socket} */ (Socket.all.at(-1));
  assert.equal(next.query.get('token'), 'new');
  await next.accept();
  await pass(10);
  next.lose(4000 + 0x30);
  await pass(20);
  assert.equal(posted.filter(({ type }) => type === 'tokenWanted').length, 1);
  assert.deepEqual([connector.state, states.at(-1)], ['failed', 'failed']);
});

test('who stops while two transports are tried leaves none', async (t) => {
  const player = await begun(t, { socketWon: true }, { blocked: true, webSocketUrl });
  await fetched();
  player.connector.stop();
  await settle();
  assert.ok(Transport.all.every(({ end }) => end) && Socket.all.every(({ end }) => end));
  assert.equal(player.states.at(-1), 'stopped');
});

/** The pages' answers. @param {import('node:test').TestContext} t @param {(url: URL) => Response} answer */
function pages(t, answer) {
  /** @type {{path: string, token: string}[]} */ const asked = [];
  t.mock.method(globalThis, 'fetch', async (/** @type {string} */ address, /** @type {any} */ { headers }) => {
    const url = new URL(address);
    asked.push({ path: url.pathname + url.search, token: headers?.authorization ?? '' });
    return answer(url);
  });
  return asked;
}

test('who is refused is not let in by another way: the pages are asked, and no WebSocket is tried', async (t) => {
  for (const [status, code, state] of /** @type {const} */ ([[401, 'unauthorized', 'failed'], [403, 'forbidden', 'failed'], [429, 'limit', 'reconnecting']])) {
    await t.test(`${status}`, async (one) => {
      const asked = pages(one, () => new Response('{}', { status, headers: { 'retry-after': '30' } }));
      const player = await begun(one, { token: 'secret', canRefetch: true }, { rejects: true, webSocketUrl });
      await player.pass(50);
      if (code === 'unauthorized') player.engine.receive({ type: 'token', token: 'secret' });
      await player.pass(50);
      const told = /** @type {any} */ (player.posted.findLast(({ type }) => type === 'state'));
      assert.deepEqual([told.state, told.code], [state, code]);
      assert.ok(status !== 429 || told.retryInMs === 30_000);
      assert.deepEqual([Transport.all.length, Socket.all.length], [1, 0]);
      assert.deepEqual(asked, [{ path: '/api/v1/transport?broadcast=cam', token: 'Bearer secret' }]);
    });
  }
});

test('WebTransport that is refused where the pages let in is followed by a WebSocket at once', async (t) => {
  pages(t, () => Response.json({}));
  const player = await begun(t, { canRefetch: true }, { rejects: true, webSocketUrl });
  await fetched();
  const [socket] = /** @type {[Socket]} */ (Socket.all);
  await socket.accept();
  await player.playOn(socket);
  assert.equal(player.connector.transportReason, 'udp-blocked');
});
