/** A player in Node: transports of the test's own, a decoder that gives pictures out at once, and a clock of its own. */

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { MessageReader, pack } from '../src/media/messages.js';
import { encodeFrame } from '../src/media/wire.js';
import { Engine } from '../src/worker/engine.js';
import { Roamer } from '../src/worker/roaming.js';
// What players fetch later is here already: how long a disk takes is no part of a test whose clock is its own.
import '../src/worker/audio.js';
import '../src/worker/datagrams.js';
import '../src/worker/racing.js';
import { fromHex } from './vectors.js';

/** @typedef {import('../src/types.js').Frame} Frame */

const SPS = fromHex('000000016742c01fda01'); // a keyframe of H.264 tells itself
const SLICE = fromHex('00000001419a2233445566778899');
export const FRAME_US = 40_000;
export const EPOCH_US = 1_800_000_000_000_000; // gateway time of the test's beginning
const STEP_MS = 10;

export let nowMs = 0;
/** Time passes, and nobody is told. @param {number} ms */
export const sleep = (ms) => { nowMs += ms; };
const { now: realNow } = performance;
before(() => { performance.now = () => nowMs; });
after(() => { performance.now = realNow; });

/** Pictures come out at once. */
export class Decoder {
  static opened = 0;
  state = 'unconfigured';
  decodeQueueSize = 0;

  /** @param {{output: (picture: any) => void}} init */
  constructor({ output }) {
    this.output = output;
    Decoder.opened++;
  }

  configure() {
    this.state = 'configured';
  }

  /** @param {{timestamp: number}} chunk */
  decode({ timestamp }) {
    this.output({ timestamp, displayWidth: 64, displayHeight: 64, close() {} });
  }

  close() {
    this.state = 'closed';
  }
}

/** @returns {{readable: ReadableStream<any>, put: (value: any) => void, end: () => void, fail: () => void}} */
function source() {
  /** @type {any} */ let controller;
  const readable = new ReadableStream({ start(made) { controller = made; } });
  return { readable, put: (value) => controller.enqueue(value), end: () => { try { controller.close(); } catch { /* was closed */ } }, fail: () => controller.error(new Error('reset')) };
}

export class Transport {
  /** @type {Transport[]} */ static all = [];
  static refuses = false;
  /** Packets go nowhere: nothing opens, and nothing fails. */ static blocked = false;
  datagrams = { maxDatagramSize: 0, readable: new ReadableStream(), writable: new WritableStream() };
  #streams = source();
  #control = source();
  #down = source();
  /** @type {any[]} */ sent = [];
  /** @type {any} how it ended */ end = null;
  /** The gateway says no. */ static rejects = false;
  ready = Transport.rejects ? Promise.reject(new Error('refused')) : Transport.blocked ? new Promise(() => {}) : Promise.resolve();
  incomingUnidirectionalStreams = this.#streams.readable;
  incomingBidirectionalStreams = this.#control.readable;

  /** @param {string} url */
  constructor(url) {
    if (Transport.refuses) throw new Error('no network');
    this.query = new URL(url).searchParams;
    /** @type {Promise<any>} */ this.closed = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    const reader = new MessageReader();
    const writable = new WritableStream({ write: (bytes) => void this.sent.push(...reader.feed(bytes)) });
    this.#control.put({ readable: this.#down.readable, writable });
    Transport.all.push(this);
  }

  /** @param {any} info */
  close(info) {
    this.end ??= info;
    /** @type {any} */ (this).resolve(info);
  }

  /** The network is gone, and the browser knows it. */
  lose() {
    this.end = 'lost';
    /** @type {any} */ (this).reject(new Error('connection lost'));
  }

  /** @param {...any} messages */
  say(...messages) {
    for (const message of messages) this.#down.put(pack(message));
  }

  /** @param {Frame} frame */
  frame(frame) {
    const stream = source();
    this.#streams.put(stream.readable);
    stream.put(encodeFrame(frame));
    stream.end();
  }

  /** One that is given up on its way. @param {Frame} frame */
  async reset(frame) {
    const stream = source();
    this.#streams.put(stream.readable);
    stream.put(encodeFrame(frame).subarray(0, 50));
    await settle();
    stream.fail();
  }

  /** @param {string} kind */
  heard(kind) {
    return this.sent.filter((message) => message.kind === kind);
  }
}

/** A WebSocket as browsers have it. */
export class Socket {
  /** @type {Socket[]} */ static all = [];
  readyState = 0;
  binaryType = 'blob';
  /** @type {any[]} */ sent = [];
  /** @type {any} how this side ended it */ end = null;
  /** @type {any} */ onopen;
  /** @type {any} */ onmessage;
  /** @type {any} */ onclose;
  #reader = new MessageReader();

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    this.query = new URL(url).searchParams;
    Socket.all.push(this);
  }

  /** @param {Uint8Array} bytes */
  send(bytes) {
    assert.equal(bytes[0], 0);
    this.sent.push(...this.#reader.feed(bytes.subarray(1)));
  }

  /** @param {number} code @param {string} reason */
  close(code, reason) {
    this.end ??= { code, reason };
    this.readyState = 2;
  }

  /** The gateway takes it. A browser tells so in a task of its own, before anything comes. */
  async accept() {
    this.readyState = 1;
    this.onopen();
    await settle();
  }

  /** The gateway refuses it, or the connection breaks, or is ended with a code. @param {number} [code] */
  lose(code = 1006) {
    this.readyState = 3;
    this.onclose({ code, reason: '' });
  }

  /** @param {number} type @param {Uint8Array} bytes */
  #message(type, bytes) {
    if (this.readyState === 1) this.onmessage({ data: Uint8Array.from([type, ...bytes]).buffer });
  }

  /** @param {...any} messages */
  say(...messages) {
    for (const message of messages) this.#message(0, pack(message));
  }

  /** @param {Frame} frame */
  frame(frame) {
    this.#message(1, encodeFrame(frame));
  }

  /** @param {string} kind */
  heard(kind) {
    return this.sent.filter((message) => message.kind === kind);
  }
}

Object.assign(globalThis, {
  WebTransport: Transport, WebSocket: Socket, VideoDecoder: Decoder,
  EncodedVideoChunk: class { constructor(/** @type {any} */ { timestamp }) { this.timestamp = timestamp; } },
});

/** @param {number} number of the picture since the beginning @param {Partial<Frame>} [other] @returns {Frame} */
export const picture = (number, other = {}) => ({
  track: 0, rendition: 3, group: 7, index: number, keyframe: number === 0, discardable: false, ptsUs: EPOCH_US + number * FRAME_US,
  captureUs: EPOCH_US + number * FRAME_US, durationUs: FRAME_US, grabbedUs: 0, convertedUs: 0, encodedUs: 0,
  payload: (other.keyframe ?? number === 0) ? SPS : SLICE, firstByteUs: 0, arrivalUs: 0, ...other,
});

/** What every session begins with. @param {string} instance @param {{token?: string, timeUs?: number}} [options] */
export const opening = (instance, { token = '', timeUs = EPOCH_US + nowMs * 1000 } = {}) => [
  { kind: 'welcome', version: 1, session: 's', broadcast: 'cam', server: 'test', time_us: timeUs, instance, node: '' },
  {
    kind: 'catalog', revision: 1, tracks: [
      { id: 0, kind: 'video', renditions: [{ id: 3, codec: 'avc1.42C01F', width: 64, height: 64, fps: 25 }] },
      { id: 1, kind: 'audio', renditions: [{ id: 9, codec: 'opus', sample_rate: 48000, channels: 1 }] },
    ],
  },
  { kind: 'state', state: 'live', reason: '', retry_in_ms: 0 },
  ...(token ? [{ kind: 'resume', token, valid_ms: 60_000 }] : []),
];

export const settle = async () => { for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve)); };

/**
 * A player that was started.
 * @param {import('node:test').TestContext} t @param {Partial<import('../src/types.js').StartMessage>} [wish]
 * @param {{blocked?: boolean, rejects?: boolean, webSocketUrl?: string}} [network]
 */
export async function begun(t, wish = {}, { blocked = false, rejects = false, webSocketUrl } = {}) {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  Object.assign(Transport, { all: [], refuses: false, rejects, blocked });
  Socket.all = [];
  Decoder.opened = 0;
  nowMs = 0;
  /** @type {string[]} */ const states = [];
  /** @type {import('../src/types.js').FromWorker[]} */ const posted = [];
  /** @type {number[]} timestamps */ const painted = [];
  const engine = new Engine((message) => {
    posted.push(message);
    if (message.type === 'state') states.push(message.state);
  }, null);
  engine.connector.load = async () => ({ Roamer });
  t.after(() => engine.connector.stop());
  engine.presenter.sink = /** @type {any} */ ({ kind: 'canvas', paint: (/** @type {any} */ frame) => painted.push(frame.timestamp) > 0 });
  /** Time passes. @param {number} ms @param {(ms: number) => void} [each] called every step */
  const pass = async (ms, each = () => {}) => {
    for (const end = nowMs + ms; nowMs < end;) {
      nowMs += STEP_MS;
      each(nowMs);
      t.mock.timers.tick(STEP_MS);
      await settle();
    }
  };
  engine.receive({
    type: 'start', baseUrl: 'http://gateway', broadcast: 'cam', latencyMode: 'asap', smoothDelayMs: 500, codec: '', canRefetch: false, codecs: '',
    prove: false, picture: true, delivery: 'stream', deadlineMs: 0, transport: 'auto', socketWon: false, token: '', ...wish,
  });
  engine.receive({ type: 'transport', info: { url: 'https://gateway:1', certificateHashes: [], ...(webSocketUrl ? { webSocketUrl } : {}) } });
  await settle();
  /** Pings are answered as a gateway does whose clock is the test's. @param {Transport | Socket} transport */
  const answer = (transport) => {
    for (const { id, client_us } of transport.heard('ping').slice(-1)) transport.say({ kind: 'pong', id, client_us, received_us: EPOCH_US + nowMs * 1000, sent_us: EPOCH_US + nowMs * 1000 });
  };
  let next = 0;
  /** Pictures come on time. @param {Transport | Socket} transport @param {number} ms */
  const play = (transport, ms) => pass(ms, (at) => { if (at % (FRAME_US / 1000) === 0) transport.frame(picture(next++)); });
  /** It is open, and ten pictures are painted. @param {Transport | Socket} transport */
  const playOn = async (transport) => {
    transport.say(...opening('i1', { token: 'T1' }));
    await settle();
    answer(transport);
    await play(transport, 400);
    assert.deepEqual([states.at(-1), painted.length], ['playing', 10]);
  };
  return {
    engine, connector: engine.connector, states, posted, painted, pass, play, playOn, answer,
    skip: (/** @type {number} */ count) => { next += count; }, get next() { return next; },
  };
}

/** A player that plays over WebTransport: ten pictures were painted. @param {import('node:test').TestContext} t */
export async function playing(t) {
  const player = await begun(t);
  const [first] = /** @type {[Transport]} */ (Transport.all);
  await player.playOn(first);
  return Object.assign(player, { first });
}
