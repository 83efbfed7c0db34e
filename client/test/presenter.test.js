/** The presenter with a display whose refreshes a test makes: what is painted in which of them. No clock is real here. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

let clockMs = 0;
let displays = true;
/** @type {((time: number) => void)[]} */ let asked = [];
Object.defineProperty(performance, 'now', { value: () => clockMs });
Object.assign(globalThis, {
  requestAnimationFrame(/** @type {(time: number) => void} */ callback) {
    if (!displays) throw new DOMException('not here', 'NotSupportedError');
    return asked.push(callback);
  },
});

const { Presenter } = await import('../src/worker/presenter.js');
const REFRESH_MS = 1000 / 60;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  clockMs = 1000;
  asked = [];
  displays = true;
});
afterEach(() => mock.timers.reset());

/** @param {{mode: string, delayUs: number}} timeline */
function begun(timeline) {
  const painted = /** @type {{index: number, atMs: number}[]} */ ([]);
  const open = new Set();
  const presenter = new Presenter(
    /** @type {any} */ ({ get mode() { return timeline.mode; }, pictureDue: (/** @type {number} */ pts, /** @type {number} */ now) => (timeline.mode === 'asap' ? now : pts + timeline.delayUs) }),
    (info) => painted.push({ index: info.frame.index, atMs: clockMs }), () => {},
  );
  presenter.sink = { kind: 'canvas', paint: (/** @type {any} */ picture) => (picture.close(), true) };
  const submit = (/** @type {number} */ index, /** @type {number} */ ptsMs) => {
    const picture = { displayWidth: 1, displayHeight: 1, close: () => open.delete(index) };
    open.add(index);
    presenter.submit(/** @type {any} */ (picture), /** @type {any} */ ({ frame: { index, ptsUs: (performance.timeOrigin + ptsMs) * 1000 } }));
  };
  return { presenter, painted, submit, open };
}

/**
 * Lets time pass in steps of a millisecond.
 * @param {number} ms @param {{visible?: boolean, each?: (ms: number) => void}} [options]
 */
function pass(ms, { visible = true, each = () => {} } = {}) {
  for (let i = 0; i < ms; i++) {
    const refreshes = Math.floor((clockMs + 1) / REFRESH_MS) > Math.floor(clockMs / REFRESH_MS);
    clockMs++;
    if (visible && refreshes) for (const callback of asked.splice(0)) callback(Math.floor(clockMs / REFRESH_MS) * REFRESH_MS);
    mock.timers.tick(1);
    each(clockMs);
  }
}

/** Pictures of 30 a second, whose times are off by some ms, decoded between 5 and 25 ms after them. @param {(index: number, ptsMs: number) => void} submit */
function source(submit) {
  let index = 0;
  return (/** @type {number} */ ms) => {
    const ptsMs = 1000 + (index * 1000) / 30 + ((index * 5) % 9);
    if (ms >= ptsMs + 5 + ((index * 7) % 20)) submit(index++, ptsMs);
  };
}

test('asap paints at once and asks for no refresh', () => {
  const { painted, submit, open } = begun({ mode: 'asap', delayUs: 0 });
  pass(1000, { each: source(submit) });
  assert.ok(painted.length > 25);
  assert.deepEqual([asked.length, open.size], [0, 0]);
});

test('pictures that wait are painted with the refreshes: every second one, none twice, none dropped', () => {
  const { presenter, painted, submit, open } = begun({ mode: 'smooth', delayUs: 60_000 });
  pass(4000, { each: source(submit) });
  const refreshes = painted.slice(60).map(({ atMs }) => Math.round(atMs / REFRESH_MS));
  assert.deepEqual(new Set(refreshes.slice(1).map((at, i) => at - /** @type {number} */ (refreshes[i]))), new Set([2]));
  assert.ok(painted.slice(60).every(({ atMs }) => Math.abs(atMs - Math.round(atMs / REFRESH_MS) * REFRESH_MS) < 1.01), 'when a refresh begins');
  assert.ok(painted.every(({ index }, i) => index === i));
  assert.equal(presenter.dropped, 0);
  assert.equal(open.size, presenter.held, 'whatever left was closed');
});

test('a hidden page has no refreshes: pictures go on by themselves, and nothing piles up', () => {
  const { presenter, painted, submit } = begun({ mode: 'sync', delayUs: 40_000 });
  const each = source(submit);
  pass(1000, { each });
  const before = painted.length;
  pass(2000, { each, visible: false });
  assert.ok(painted.length - before + presenter.dropped >= 55, `${painted.length - before}`);
  assert.ok(presenter.held < 5);
  pass(1000, { each });
  const refreshes = painted.slice(-10).map(({ atMs }) => Math.round(atMs / REFRESH_MS));
  assert.deepEqual(new Set(refreshes.slice(1).map((at, i) => at - /** @type {number} */ (refreshes[i]))), new Set([2]), 'and are in step again');
});

test('after a change to asap nothing waits for a refresh any more', () => {
  const timeline = { mode: 'smooth', delayUs: 100_000 };
  const { presenter, painted, submit, open } = begun(timeline);
  const each = source(submit);
  pass(1000, { each });
  timeline.mode = 'asap';
  presenter.pump();
  assert.equal(presenter.held, 0);
  assert.equal(open.size, 0);
  const before = painted.length;
  pass(1000, { each, visible: false });
  assert.ok(painted.length - before >= 29);
});

test('a worker that has no display paints by timers', () => {
  displays = false;
  const { presenter, painted, submit } = begun({ mode: 'smooth', delayUs: 60_000 });
  pass(2000, { each: source(submit), visible: false });
  assert.ok(painted.length >= 55, `${painted.length}`);
  assert.equal(presenter.dropped, 0);
});
