/** What a page tells of itself: in device pixels, once, not too often, and again in each session. */

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

/** @type {any} */ const page = globalThis;

/** A page with one observed element; its methods make things happen. */
function fakePage({ exact = true } = {}) {
  const state = { visible: true, observed: /** @type {any[]} */ ([]), listeners: /** @type {any[]} */ ([]) };
  page.ResizeObserver = class {
    /** @param {any} callback */
    constructor(callback) { this.callback = callback; state.observed.push(this); }
    /** @param {any} _element @param {any} options */
    observe(_element, options) { if (options && !exact) throw new TypeError('no such box'); }
    disconnect() { this.callback = () => {}; }
  };
  page.devicePixelRatio = 2;
  page.document = {
    get visibilityState() { return state.visible ? 'visible' : 'hidden'; },
    addEventListener: (/** @type {string} */ _, /** @type {any} */ listener) => state.listeners.push(listener),
    removeEventListener: (/** @type {string} */ _, /** @type {any} */ listener) => { state.listeners = state.listeners.filter((each) => each !== listener); },
  };
  return {
    /** @param {number} width @param {number} height in CSS pixels */
    resize(width, height) {
      const contentRect = { width, height };
      const box = exact ? [{ inlineSize: width * 2, blockSize: height * 2 }] : undefined;
      for (const observer of state.observed) observer.callback([{ contentRect, devicePixelContentBoxSize: box }]);
    },
    /** @param {boolean} visible */
    show(visible) {
      state.visible = visible;
      for (const listener of state.listeners) listener();
    },
  };
}

let nowMs = 0;

/** @param {number} ms */
function pass(ms) {
  nowMs += ms;
  mock.timers.tick(ms);
}

/** @param {{exact?: boolean, bitrateBps?: number, picture?: {width: number, height: number}}} [options] */
async function watching({ exact = true, bitrateBps = 0, picture = { width: 1920, height: 1080 } } = {}) {
  mock.timers.enable({ apis: ['setTimeout'] });
  nowMs = 10_000;
  mock.method(performance, 'now', () => nowMs);
  const fake = fakePage({ exact });
  const { Viewport } = await import('../src/main/viewport.js');
  /** @type {any[]} */ const told = [];
  const viewport = new Viewport(/** @type {any} */ ({}), (message) => told.push(message), bitrateBps, picture);
  return { ...fake, told, viewport };
}

/** @param {number} width @param {number} height @param {number} visible */
const message = (width, height, visible, bitrate_bps = 0) => ({
  type: 'control', message: { kind: 'viewport', width, height, visible, bitrate_bps },
});

for (const exact of [true, false]) {
  test(`a size is told in device pixels once it rests (exact: ${exact})`, async () => {
    const { resize, told, viewport } = await watching({ exact });
    for (let width = 100; width <= 640; width += 10) {
      resize(width, 360);
      pass(16);
    }
    assert.deepEqual(told, []);
    pass(300);
    assert.deepEqual(told, [message(1280, 720, 1)]);
    resize(640, 360);
    pass(300);
    assert.equal(told.length, 1, 'the same again is not told');
    viewport.close();
    mock.reset();
  });
}

test('whether it is seen is told at once', async () => {
  const { resize, show, told, viewport } = await watching({ bitrateBps: 1_500_000.4 });
  resize(640, 360);
  pass(300);
  show(false);
  show(true);
  assert.deepEqual(told.slice(1), [message(1280, 720, 0, 1_500_000), message(1280, 720, 1, 1_500_000)]);
  viewport.close();
  show(false);
  resize(1, 1);
  pass(300);
  assert.equal(told.length, 3, 'nothing after it was closed');
  mock.reset();
});

test('a new session is told what there is to tell', async () => {
  const { resize, told, viewport } = await watching({ bitrateBps: -3 });
  viewport.again();
  assert.deepEqual(told, [], 'nothing is known yet');
  resize(640, 360);
  pass(300);
  viewport.again();
  assert.deepEqual(told, [message(1280, 720, 1), message(1280, 720, 1)]);
  viewport.close();
  mock.reset();
});

test('an element that has the size of its picture is told of as unknown, whatever the picture does', async () => {
  const { resize, told, viewport } = await watching({ picture: { width: 640, height: 360 } });
  resize(640, 360);
  pass(300);
  assert.deepEqual(told, [message(0, 0, 1)]);
  pass(5000);
  viewport.changed({ width: 320, height: 180 });
  pass(10);
  resize(320, 180);
  pass(300);
  assert.equal(told.length, 1);
  viewport.close();
  mock.reset();
});

test('an element that is at most so large, and shrinks with its picture, keeps what was told', async () => {
  const { resize, told, viewport } = await watching({ picture: { width: 1280, height: 720 } });
  resize(800, 450);
  pass(300);
  assert.deepEqual(told, [message(1600, 900, 1)]);
  pass(5000);
  resize(640, 360); // a moment before the worker tells of the picture
  pass(10);
  viewport.changed({ width: 640, height: 360 });
  pass(300);
  assert.equal(told.length, 1);
  pass(5000);
  resize(700, 394); // the window
  pass(300);
  assert.deepEqual(told[1], message(1400, 788, 1));
  viewport.close();
  mock.reset();
});

test('an element of its own size does not change its word when the picture happens to have the same', async () => {
  const { resize, told, viewport } = await watching({ picture: { width: 1280, height: 720 } });
  resize(640, 360);
  pass(300);
  viewport.changed({ width: 640, height: 360 });
  pass(5000);
  viewport.again();
  resize(640, 361);
  pass(300);
  assert.deepEqual(told.map(({ message: { width } }) => width), [1280, 1280, 1280]);
  viewport.close();
  mock.reset();
});
