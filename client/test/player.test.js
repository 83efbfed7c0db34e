/**
 * The player and its worker, while that is loaded: what cannot be loaded is loaded again, and nothing that the
 * page asked for meanwhile is lost. The page and the worker are stand-ins; time is the test's own.
 */

import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

/** @type {any} */ const page = globalThis;

class Element {
  style = {};
  classList = { add() {} };
  clientWidth = 100;
  clientHeight = 100;
  /** @type {Element[]} */ children = [];
  /** @type {Element | null} */ parent = null;

  /** @param {Element} child */
  prepend(child) {
    child.parent = this;
    this.children.unshift(child);
  }

  remove() {
    if (this.parent) this.parent.children = this.parent.children.filter((child) => child !== this);
    this.parent = null;
  }

  play() {
    return Promise.resolve();
  }
}

class Video extends Element {
  /** @type {any} */ srcObject = null;
}

class Canvas extends Element {
  #transferred = false;

  transferControlToOffscreen() {
    if (this.#transferred) throw new Error('transferred already');
    this.#transferred = true;
    return { offscreenOf: this };
  }

  getContext() {
    return {};
  }

  captureStream() {
    return { getVideoTracks: () => [{ clone: () => ({ cloned: true }) }] };
  }
}

class Generator {
  writable = { writableOf: this };

  stop() {}
}

class FakeWorker {
  /** @type {FakeWorker[]} */ static all = [];
  /** @type {(event: {data: any}) => void} */ onmessage = () => {};
  /** @type {(event: any) => void} */ onerror = () => {};
  /** @type {any[]} */ told = [];
  terminated = false;

  /** @param {URL} url */
  constructor(url) {
    this.url = url.href;
    FakeWorker.all.push(this);
  }

  /** @param {any} message */
  postMessage(message) {
    this.told.push(message);
  }

  terminate() {
    this.terminated = true;
  }

  /** Its script, or one that it imports, could not be fetched. */
  fail(message = '') {
    this.onerror({ message, preventDefault() {} });
  }

  /** @param {any} data */
  says(data) {
    this.onmessage({ data });
  }

  /** @param {string} type @returns {any} the last message of that type */
  last(type) {
    return this.told.findLast((message) => message.type === type);
  }
}

/** @type {Set<() => void>} */ const watching = new Set();

Object.assign(page, {
  Worker: FakeWorker,
  HTMLCanvasElement: Canvas,
  HTMLVideoElement: Video,
  MediaStream: class {},
  ResizeObserver: class {
    observe() {}
    disconnect() {}
  },
  location: { origin: 'null' }, // that of file:, from where the player is imported here
  document: {
    baseURI: 'https://gateway.example/page', readyState: 'complete', visibilityState: 'visible',
    createElement: (/** @type {string} */ name) => (name === 'video' ? new Video() : new Canvas()),
    addEventListener: (/** @type {string} */ _, /** @type {() => void} */ listener) => watching.add(listener),
    removeEventListener: (/** @type {string} */ _, /** @type {() => void} */ listener) => watching.delete(listener),
  },
});

page.navigator ??= { userAgent: 'test' };

const { Player } = await import('../src/player.js');

/** @typedef {import('../src/types.js').PlayerOptions} PlayerOptions */

const PAUSES_MS = [250, 500, 1000, 2000, 4000];
const TRANSPORT = { transportUrl: 'https://gateway.example:4433', certificateHashes: [] };
const settled = () => new Promise((resolve) => { setImmediate(resolve); });
const newest = () => /** @type {FakeWorker} */ (FakeWorker.all.at(-1));

/** @param {Partial<PlayerOptions>} [options] */
function made(options = {}) {
  const container = new Element();
  /** @type {any[]} */ const told = [];
  const player = new Player({ broadcast: 'test', container: /** @type {any} */ (container), ...TRANSPORT, ...options });
  player.addEventListener('state', (event) => told.push(/** @type {CustomEvent} */ (event).detail));
  return { player, container, told };
}

/** A player whose first worker could not be loaded. @param {Partial<PlayerOptions>} [options] */
function waiting(options) {
  const { player, ...rest } = made(options);
  player.start();
  newest().fail();
  return { player, ...rest };
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  FakeWorker.all = [];
  watching.clear();
  page.document.visibilityState = 'visible';
  page.MediaStreamTrackGenerator = Generator;
});

test('a worker that cannot be loaded is loaded again after a pause, and the page is told', async () => {
  const { player, told } = made();
  player.start();
  await settled();
  const [first] = FakeWorker.all;
  first?.fail('Failed to fetch dynamically imported module');
  assert.equal(first?.terminated, true);
  assert.deepEqual(told, [{ state: 'reconnecting', message: 'The player could not be loaded. Trying again…', retryInMs: 250, code: '' }]);
  mock.timers.tick(249);
  assert.equal(FakeWorker.all.length, 1);
  mock.timers.tick(1);
  await settled();
  assert.equal(FakeWorker.all.length, 2);
  assert.deepEqual(newest().told.map(({ type }) => type), ['sink', 'visible', 'start', 'transport']);
  assert.deepEqual([newest().last('start'), newest().last('transport')], [first?.last('start'), first?.last('transport')]);
  newest().says({ type: 'state', state: 'connecting', message: '', retryInMs: 0, code: '' });
  assert.equal(player.state.state, 'connecting');
});

test('pauses grow, and then it says what it said', () => {
  const { player, told } = made();
  /** @type {any[]} */ const errors = [];
  player.addEventListener('error', (event) => errors.push(/** @type {CustomEvent} */ (event).detail));
  player.start();
  for (const pause of PAUSES_MS) {
    newest().fail();
    newest().fail(); // both the module and what it imports may be told of
    mock.timers.tick(pause);
  }
  assert.deepEqual([FakeWorker.all.length, told.map(({ retryInMs }) => retryInMs), errors], [6, PAUSES_MS, []]);
  newest().fail();
  mock.timers.tick(60_000);
  const message = "The player's worker stopped: it could not be loaded. Reload the page.";
  assert.deepEqual([FakeWorker.all.length, player.state.state, player.state.message], [6, 'failed', message]);
  assert.deepEqual(errors, [{ message, fatal: true }]);
  assert.ok(FakeWorker.all.every(({ terminated }) => terminated));
  player.stop();
  player.start();
  assert.equal(FakeWorker.all.length, 7, 'the page may ask for another one');
});

test('pauses are short again once a worker was loaded', () => {
  const { player } = waiting();
  mock.timers.tick(250);
  newest().says({ type: 'state', state: 'connecting', message: '', retryInMs: 0, code: '' });
  player.close();
  player.start();
  newest().fail();
  assert.equal(player.state.retryInMs, 250);
});

test('what stops after it was loaded has failed', () => {
  const { player } = made();
  player.start();
  newest().says({ type: 'state', state: 'connecting', message: '', retryInMs: 0, code: '' });
  newest().fail('out of memory');
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, newest().terminated], [1, false]);
  assert.deepEqual([player.state.state, player.state.message], ['failed', "The player's worker stopped: out of memory. Reload the page."]);
});

test('stop() holds: in the pause, and while the worker is being loaded', () => {
  const { player, told } = waiting();
  player.stop();
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, player.state.state], [1, 'stopped']);
  player.start();
  assert.equal(FakeWorker.all.length, 2);
  player.stop();
  assert.equal(newest().last('stop')?.type, 'stop');
  newest().fail();
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, player.state.state], [2, 'stopped']);
  assert.deepEqual(told.map(({ state }) => state), ['reconnecting', 'stopped', 'stopped']);
  assert.equal(watching.size, 0);
});

test('a page that stops as soon as it hears of it has stopped', () => {
  const { player } = made();
  player.addEventListener('state', () => player.state.state === 'reconnecting' && player.stop());
  player.start();
  newest().fail();
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, player.state.state], [1, 'stopped']);
});

test('close() holds: in the pause, and while the worker is being loaded', () => {
  const { player } = waiting();
  player.close();
  mock.timers.tick(60_000);
  assert.equal(FakeWorker.all.length, 1);
  const other = made();
  other.player.start();
  const [, worker] = FakeWorker.all;
  other.player.close();
  worker?.fail();
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, worker?.terminated, other.told], [2, true, []]);
});

test('retryNow() does not wait for the pause, and start() neither', () => {
  const { player } = waiting();
  player.retryNow();
  assert.equal(FakeWorker.all.length, 2);
  newest().fail();
  player.start();
  assert.equal(FakeWorker.all.length, 3);
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, newest().told.filter(({ type }) => type === 'start').length], [3, 1], 'and the pause is over');
  player.retryNow();
  assert.equal(newest().last('retryNow')?.type, 'retryNow');
});

for (const [when, wish] of /** @type {[string, (act: () => void, fail: () => void) => void][]} */ ([
  ['in the pause', (act, fail) => { fail(); act(); }],
  ['while the worker is being loaded', (act, fail) => { act(); fail(); }],
])) {
  test(`what the page wishes for ${when} is not lost`, async () => {
    const { player } = made();
    /** @type {any[]} */ const pictures = [];
    player.addEventListener('picture', (event) => pictures.push(/** @type {CustomEvent} */ (event).detail));
    player.start();
    await settled();
    wish(() => {
      player.setRendition(3);
      player.setPicture(false);
      player.setLatencyMode('smooth');
      player.setToken('another');
      player.measureLevels(true);
      page.document.visibilityState = 'hidden';
      for (const changed of watching) changed();
    }, () => newest().fail());
    mock.timers.tick(250);
    await settled();
    const { told } = newest();
    const { picture, latencyMode, token } = newest().last('start');
    assert.deepEqual([FakeWorker.all.length, picture, latencyMode, token], [2, false, 'smooth', 'another']);
    assert.deepEqual(told.filter(({ type }) => ['rendition', 'levels', 'visible'].includes(type)),
      [{ type: 'levels', on: true }, { type: 'visible', visible: false }, { type: 'rendition', id: 3 }]);
    assert.deepEqual([pictures, player.view], [[{ on: false, message: '' }], { on: false, message: '' }]);
    player.close();
  });
}

test('a token that the page was asked for meanwhile is used', async () => {
  const { player } = made({ token: () => Promise.resolve('fresh') });
  player.start();
  newest().fail();
  await settled();
  mock.timers.tick(250);
  assert.equal(newest().last('start').token, 'fresh');
});

test('a copy of the picture that was asked for is asked for again', () => {
  page.MediaStreamTrackGenerator = undefined;
  const { player } = made();
  player.start();
  assert.ok(player.getVideoTrack());
  newest().fail();
  mock.timers.tick(250);
  assert.deepEqual(newest().last('mirror'), { type: 'mirror', on: true });
});

test('each worker is offered a generator of its own, in a <video> of its own', () => {
  const { container } = waiting();
  const [before] = container.children;
  mock.timers.tick(250);
  const [first, second] = FakeWorker.all.map((worker) => worker.last('sink'));
  assert.deepEqual([first.kind, second.kind], ['generator', 'generator']);
  assert.notEqual(first.writable, second.writable);
  assert.equal(container.children.length, 1);
  assert.ok(container.children[0] instanceof Video && container.children[0] !== before);
});

test('each worker is offered a canvas of its own', () => {
  page.MediaStreamTrackGenerator = undefined;
  const { container } = waiting();
  mock.timers.tick(250);
  const [first, second] = FakeWorker.all.map((worker) => worker.last('sink'));
  assert.deepEqual([first.kind, second.kind], ['trackgenerator', 'trackgenerator'], 'none has failed');
  assert.notEqual(first.canvas.offscreenOf, second.canvas.offscreenOf);
  assert.deepEqual(container.children, [second.canvas.offscreenOf]);
});

test("the page's own canvas cannot be given twice", () => {
  const { player } = waiting({ canvas: /** @type {any} */ (new Canvas()) });
  mock.timers.tick(60_000);
  assert.deepEqual([FakeWorker.all.length, player.state.state], [1, 'failed']);
});

test("the page's own canvas stays where the page paints on it", () => {
  const canvas = new Canvas();
  const { player } = waiting({ canvas: /** @type {any} */ (canvas), sink: 'canvas' });
  mock.timers.tick(250);
  assert.deepEqual([newest().last('sink'), player.state.state], [{ type: 'sink', kind: 'canvas' }, 'reconnecting']);
});
