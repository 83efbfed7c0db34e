/** A WebSocket as a transport: with a socket of the test's own, and the session above it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageReader, pack } from '../src/media/messages.js';
import { encodeFrame } from '../src/media/wire.js';
import { Session } from '../src/worker/session.js';
import { shortened, WebSocketTransport } from '../src/worker/websocket.js';
import { vectors } from './vectors.js';

const settle = async () => { for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve)); };

class Socket {
  readyState = 0;
  binaryType = 'blob';
  /** @type {Uint8Array[]} */ sent = [];
  /** @type {any[]} */ closes = [];
  /** @type {any} */ onopen;
  /** @type {any} */ onmessage;
  /** @type {any} */ onclose;

  /** @param {any[]} args */
  constructor(...args) {
    this.args = args;
    Socket.last = this;
  }

  /** @type {Socket} */ static last;

  /** @param {Uint8Array} bytes */
  send(bytes) {
    this.sent.push(bytes.slice());
  }

  /** @param {any[]} args */
  close(...args) {
    this.closes.push(args);
    this.readyState = 2;
  }

  open() {
    this.readyState = 1;
    this.onopen({});
  }

  /** @param {number} type @param {Uint8Array} bytes */
  message(type, bytes) {
    const { buffer } = Uint8Array.from([type, ...bytes]);
    this.onmessage({ data: buffer });
    return buffer;
  }

  /** Messages of the viewer. */
  get said() {
    const reader = new MessageReader();
    return this.sent.flatMap((bytes) => {
      assert.equal(bytes[0], 0);
      return reader.feed(bytes.subarray(1));
    });
  }
}

const made = () => {
  const transport = new WebSocketTransport('wss://host/_ws/cam?v=1', /** @type {any} */ (Socket));
  return { transport, socket: Socket.last };
};

const FRAME = { ...vectors('frames')[0].frame, track: 1, rendition: 2, group: 3, index: 4, keyframe: true, discardable: false, ptsUs: 0, captureUs: 0, durationUs: 0, grabbedUs: 0, convertedUs: 0, encodedUs: 0 };
/** @param {number} size of the payload @param {number} [index] */
const frameOf = (size, index = 4) => encodeFrame({ ...FRAME, index, payload: new Uint8Array(size).fill(7) });

test('a session over it: frames and messages come, and messages go', async () => {
  const { transport, socket } = made();
  assert.deepEqual(socket.args, ['wss://host/_ws/cam?v=1', 'wtgateway-1']);
  assert.equal(socket.binaryType, 'arraybuffer');
  /** @type {any[]} */ const told = [];
  const tell = (/** @type {string} */ what) => (/** @type {any} */ value) => told.push([what, value]);
  const session = new Session(transport, /** @type {any} */ ({ heard() {}, bytes() {}, coming() {}, lost: tell('lost'), frame: tell('frame'), message: tell('message'), noDatagrams: tell('none') }), /** @type {any} */ ({ wanted: false }));
  assert.equal(session.kind, 'websocket');
  socket.open();
  await session.opened;
  const buffer = socket.message(1, frameOf(500, 0));
  socket.message(1, frameOf(0, 1));
  socket.message(0, Uint8Array.from([...pack({ kind: 'pong', id: 1, client_us: 0, received_us: 1, sent_us: 2 }), ...pack({ kind: 'state', state: 'live' })]));
  await settle();
  const frames = told.filter(([what]) => what === 'frame').map(([, frame]) => frame);
  assert.deepEqual(frames.map(({ index, payload }) => [index, payload.length]), [[0, 500], [1, 0]]);
  assert.equal(frames[0].payload.buffer, buffer, 'it was not copied');
  assert.deepEqual(told.filter(([what]) => what === 'message').map(([, { kind }]) => kind), ['pong', 'state']);
  session.send({ kind: 'keyframe', track: 1, reason: 'gap' });
  await settle();
  assert.deepEqual(socket.said.filter(({ kind }) => kind === 'keyframe').map(({ track }) => track), [1]);
  session.close(0x21, 'so slow');
  assert.deepEqual(socket.closes, [[4000 + 0x21, 'so slow']]);
  assert.deepEqual(await transport.closed, { closeCode: 0x21, reason: 'so slow' });
});

test('progress is told after 16 KiB, and 50 ms after anything', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { socket } = made();
  socket.open();
  const told = () => socket.said.map(({ kind, bytes }) => [kind, bytes]);
  const size = frameOf(1000).length;
  socket.message(1, frameOf(1000));
  t.mock.timers.tick(30);
  socket.message(1, frameOf(1000));
  t.mock.timers.tick(19);
  assert.deepEqual(told(), []);
  t.mock.timers.tick(1);
  assert.deepEqual(told(), [['progress', 2 * size]], '50 ms after the first, not the last');
  t.mock.timers.tick(1000);
  assert.equal(told().length, 1, 'nothing new');
  for (let i = 0; i < 16; i++) socket.message(1, frameOf(1000));
  assert.deepEqual(told().slice(1), [['progress', 18 * size]], '16 KiB');
  t.mock.timers.tick(1000);
  assert.equal(told().length, 2, 'told already');
  socket.message(0, pack({ kind: 'state', state: 'live' }));
  t.mock.timers.tick(1000);
  assert.equal(told().length, 2, 'messages do not count');
  socket.message(1, frameOf(40_000));
  assert.deepEqual(told().slice(2), [['progress', 18 * size + frameOf(40_000).length]], 'at once');
});

test('codes go both ways', async () => {
  for (const [code, closeCode] of [[1000, 0], [4000, 0], [4048, 0x30], [4255, 255]]) {
    const { transport, socket } = made();
    socket.open();
    socket.onclose({ code, reason: 'why' });
    assert.deepEqual(await transport.closed, { closeCode, reason: 'why' });
  }
  for (const code of [1001, 1006, 1009, 3000, 4256, 4999]) {
    const { transport, socket } = made();
    socket.open();
    socket.onclose({ code, reason: '' });
    await assert.rejects(transport.closed, new RegExp(`${code}`));
  }
});

test('one that is refused is neither open nor closed in order', async () => {
  const { transport, socket } = made();
  socket.onclose({ code: 1006, reason: '' });
  await assert.rejects(transport.ready);
  await assert.rejects(transport.closed);
  transport.close();
  assert.deepEqual(socket.closes, []);
  const early = made();
  early.transport.close({ closeCode: 0, reason: 'not wanted' });
  await assert.rejects(early.transport.ready);
  assert.deepEqual(early.socket.closes, [[1000, 'not wanted']]);
});

test('what is no message of the protocol closes it, and nothing comes after the end', async () => {
  for (const data of ['text', new ArrayBuffer(0), Uint8Array.of(2, 1).buffer, new Blob([])]) {
    const { transport, socket } = made();
    socket.open();
    socket.onmessage({ data });
    assert.equal((await transport.closed).closeCode, 0x10);
    assert.equal(socket.closes[0][0], 4000 + 0x10);
    socket.message(1, frameOf(20_000)); // neither thrown nor answered
    assert.deepEqual(socket.said, []);
  }
});

test('a reason is cut to what a close frame holds, between characters', () => {
  assert.equal(shortened('short', 123), 'short');
  assert.equal(shortened('x'.repeat(200), 123).length, 123);
  assert.equal(shortened('é'.repeat(100), 123), 'é'.repeat(61));
});
