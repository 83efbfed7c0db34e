/** Which of two transports is used: every course of a race, and some by hand. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attempts, MAX_FAILED, WINDOW_US } from '../src/media/attempts.js';
import { HEAD_START_US, Race } from '../src/media/race.js';

/** @typedef {import('../src/media/race.js').TransportKind} TransportKind */
/** @typedef {import('../src/media/race.js').RaceAction} RaceAction */

const [WT, WS] = /** @type {const} */ (['webtransport', 'websocket']);
/** @param {RaceAction[]} actions */
const short = (actions) => actions.map((action) => ('kind' in action ? `${action.type} ${action.kind}` : action.type));

test('WebTransport that answers within its head start is alone', () => {
  const race = new Race();
  assert.deepEqual(short(race.begin(1000)), ['open webtransport']);
  assert.equal(race.nextTimeout(), 1000 + HEAD_START_US);
  assert.deepEqual(short(race.advance(1000 + HEAD_START_US - 1)), []);
  assert.deepEqual(short(race.ready(WT)), ['won webtransport']);
  assert.equal(race.nextTimeout(), null);
  assert.deepEqual(race.advance(1000 + HEAD_START_US), []);
});

test('a WebSocket is opened beside one that is silent, and the first to open wins', () => {
  for (const [winner, loser] of /** @type {const} */ ([[WT, WS], [WS, WT]])) {
    const race = new Race();
    race.begin(0);
    assert.deepEqual(short(race.advance(HEAD_START_US)), ['open websocket']);
    assert.deepEqual(short(race.ready(winner)), [`won ${winner}`, `close ${loser}`]);
    assert.deepEqual(race.ready(loser), [], 'too late');
    assert.deepEqual(race.failed(loser, HEAD_START_US + 1), []);
  }
});

test('a WebSocket is opened at once where WebTransport fails, is not there, or did not work a short while ago', () => {
  const failed = new Race();
  failed.begin(0);
  assert.deepEqual(short(failed.failed(WT, 40_000)), ['open websocket']);
  assert.deepEqual(short(new Race({ supported: false }).begin(0)), ['open websocket']);
  assert.deepEqual(short(new Race({ remembered: true }).begin(0)), ['open webtransport', 'open websocket']);
});

test('who asks for one gets no other', () => {
  const only = new Race({ choice: WT });
  assert.deepEqual(short(only.begin(0)), ['open webtransport']);
  assert.deepEqual(short(only.advance(HEAD_START_US)), []);
  assert.deepEqual(short(only.failed(WT, HEAD_START_US)), ['lost']);
  assert.deepEqual(short(new Race({ choice: WS }).begin(0)), ['open websocket']);
  assert.deepEqual(short(new Race({ choice: WS, offered: false }).begin(0)), ['lost']);
  assert.deepEqual(short(new Race({ supported: false, offered: false }).begin(0)), ['lost']);
});

test('it is lost when patience ends, and what is opening is closed', () => {
  const race = new Race({ patienceUs: 2_000_000 });
  race.begin(0);
  race.advance(HEAD_START_US);
  assert.equal(race.nextTimeout(), 2_000_000);
  assert.deepEqual(short(race.advance(2_000_000)), ['close webtransport', 'close websocket', 'lost']);
  assert.deepEqual([race.advance(3_000_000), race.ready(WT), race.nextTimeout()], [[], [], null]);
});

/** What may happen at each of some times. @type {((race: Race, us: number) => RaceAction[])[]} */
const EVENTS = [
  (race, us) => race.advance(us), (race) => race.ready(WT), (race) => race.ready(WS),
  (race, us) => race.failed(WT, us), (race, us) => race.failed(WS, us),
];
const TIMES = [1, HEAD_START_US - 1, HEAD_START_US, HEAD_START_US + 1, 2_000_000];

/** All courses of so many events. @param {number} length @returns {Generator<number[]>} */
function* courses(length) {
  if (length === 0) return yield [];
  for (const course of courses(length - 1)) for (let event = 0; event < EVENTS.length; event++) yield [...course, event];
}

test('every course: each is opened once, one wins or none, and nothing is left open beside the winner', () => {
  const bool = [true, false];
  let raced = 0;
  for (const choice of /** @type {const} */ (['auto', WT, WS])) for (const supported of bool) for (const offered of bool) for (const remembered of bool) {
    for (const course of courses(TIMES.length)) {
      const race = new Race({ choice, supported, offered, remembered, patienceUs: 2_000_000 });
      /** @type {Set<TransportKind>} */ const open = new Set();
      /** @type {string[]} */ const ends = [];
      const opened = new Set();
      const take = (/** @type {RaceAction[]} */ actions, /** @type {number} */ us) => {
        for (const action of actions) {
          assert.equal(ends.length - (action.type === 'close' ? ends.filter((end) => end.startsWith('won')).length : 0), 0, 'nothing after the end');
          if (action.type === 'open') {
            assert.ok(!opened.has(action.kind), 'opened once');
            assert.ok(action.kind !== WS || us >= HEAD_START_US || remembered || !supported || choice === WS || course.slice(0, TIMES.indexOf(us) + 1).includes(3), 'head start');
            opened.add(action.kind);
            open.add(action.kind);
          } else if (action.type === 'close') {
            assert.ok(open.delete(action.kind));
          } else {
            if (action.type === 'won') assert.ok(open.has(action.kind));
            ends.push(action.type === 'won' ? `won ${action.kind}` : 'lost');
          }
        }
      };
      const failed = (/** @type {number} */ event) => { if (!ends.length) open.delete(event === 3 ? WT : WS); };
      take(race.begin(0), 0);
      course.forEach((event, at) => {
        const us = /** @type {number} */ (TIMES[at]);
        const before = new Set(open);
        if (event >= 3) failed(event);
        take(/** @type {any} */ (EVENTS[event])(race, us), us);
        if (event === 1 || event === 2) {
          const kind = event === 1 ? WT : WS;
          if (ends[0] === `won ${kind}`) assert.ok(before.has(kind), 'what was never opened cannot win');
        }
      });
      take(race.advance(2_000_000), 2_000_000);
      assert.equal(ends.length, 1, `${course}`);
      assert.equal(open.size, ends[0] === 'lost' ? 0 : 1, `${course} ${ends}`);
      assert.equal(race.nextTimeout(), null);
      raced++;
    }
  }
  assert.equal(raced, 24 * 5 ** 5);
});

test('handshakes that fail are counted within five minutes', () => {
  const attempts = new Attempts();
  for (let i = 0; i < MAX_FAILED; i++) {
    assert.equal(attempts.allowed(i), true);
    attempts.failed(i);
  }
  assert.equal(attempts.allowed(MAX_FAILED), false);
  assert.equal(attempts.allowed(WINDOW_US - 1), false);
  assert.equal(attempts.allowed(WINDOW_US), true, 'the first of them is forgotten');
  attempts.failed(WINDOW_US);
  assert.equal(attempts.allowed(WINDOW_US), false);
});
