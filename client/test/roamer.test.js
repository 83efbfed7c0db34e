/** The player between two sessions. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, EPOCH_US, FRAME_US, Transport, nowMs, opening, picture, playing, settle, sleep } from './playing.js';

test('silence: a ping, then a second session that goes on behind the first', async (t) => {
  const { engine, connector, states, painted, pass, play, first } = await playing(t);
  const pings = first.heard('ping').length;
  await pass(110);
  assert.equal(first.heard('ping').length, pings);
  await pass(20);
  assert.equal(first.heard('ping').length, pings + 1, 'at 120 ms');
  await pass(110);
  assert.equal(Transport.all.length, 1);
  await pass(20);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  assert.deepEqual([second.query.get('resume'), second.query.get('after'), second.query.get('subscribe')], ['T1', '0.3.7.9', 'video,audio']);
  assert.equal(connector.state, 'roaming');
  connector.playing(); // what had come is still shown
  assert.equal(connector.state, 'roaming');
  second.frame(picture(11)); // before all that says what it is
  second.frame(picture(10));
  await pass(20);
  assert.deepEqual([painted.length, connector.state], [10, 'roaming'], 'held');
  second.say(...opening('i1', { token: 'T2' }));
  await pass(10);
  assert.equal(connector.state, 'playing');
  assert.deepEqual(first.end, { closeCode: 0, reason: 'another session of this viewer took its place' });
  await play(second, 0);
  assert.deepEqual(painted.map((us) => (us - EPOCH_US) / FRAME_US), Array.from({ length: 12 }, (_, i) => i), 'nothing is missing or twice');
  assert.deepEqual([connector.roams, connector.reconnects, Decoder.opened], [1, 0, 1]);
  assert.deepEqual([engine.video.lost, engine.video.keyframeRequests, engine.video.dropped], [0, 0, 0]);
  assert.ok(engine.report.gap.us >= 250_000 && engine.report.gap.us < 350_000, `${engine.report.gap.us}`);
  assert.deepEqual(states, ['connecting', 'joining', 'playing', 'roaming', 'playing']);
  first.frame(picture(12));
  await pass(10);
  assert.equal(painted.length, 12, 'what was left says nothing any more');
  assert.equal(connector.place.token, 'T2', 'and the next one has a token of its own');
});

test('the first session speaks again before the second one delivers: it stays', async (t) => {
  const { engine, connector, painted, pass, play, first } = await playing(t);
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  assert.equal(connector.state, 'roaming');
  await play(first, 80);
  assert.deepEqual([connector.state, second.end.closeCode, connector.roams, first.end], ['playing', 0, 0, null]);
  second.say(...opening('i1'));
  second.frame(picture(30));
  await play(first, 400);
  assert.deepEqual([painted.length, Transport.all.length, engine.video.lost], [22, 2, 0]);
  assert.ok(Math.abs(engine.video.silentUntilUs - EPOCH_US - 700_000) < 50_000, 'what was captured before came late because of that');
});

test('a ping that is answered: the network is there, and the source has nothing', async (t) => {
  const { pass, first, answer } = await playing(t);
  for (let times = 0; times < 20; times++) {
    await pass(100);
    answer(first);
  }
  assert.equal(Transport.all.length, 1);
});

test('a frame that the second session lost is not waited for', async (t) => {
  const { connector, pass } = await playing(t);
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  second.say(...opening('i1'));
  await second.reset(picture(10));
  second.frame(picture(11));
  await pass(20);
  assert.equal(connector.state, 'playing');
  assert.deepEqual(second.heard('keyframe').map(({ reason }) => reason), ['gap']);
});

test('what the page wished for is said again', async (t) => {
  const { engine, pass, first } = await playing(t);
  engine.receive({ type: 'rendition', id: 3 });
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  second.say(...opening('i1'));
  second.frame(picture(10));
  await pass(20);
  for (const transport of [first, second]) assert.deepEqual(transport.heard('subscribe').map(({ rendition }) => rendition), [3]);
});

test('a session that has nothing newer does not win', async (t) => {
  const { connector, painted, pass, first } = await playing(t);
  first.frame(picture(11)); // 10 was lost
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  assert.equal(second.query.get('after'), '0.3.7.9');
  second.say(...opening('i1'));
  second.frame(picture(9));
  await pass(10);
  assert.deepEqual([painted.length, connector.state], [10, 'roaming']);
  second.frame(picture(10));
  await pass(10);
  assert.deepEqual([painted.length, connector.state], [12, 'playing']);
});

test('another instance: what is shown goes on, and nothing is shown twice or backwards', async (t) => {
  const { engine, connector, painted, pass } = await playing(t);
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  const other = { group: 2 };
  second.say(...opening('i2'));
  second.frame(picture(1, { ...other, ptsUs: EPOCH_US + 9 * FRAME_US - 10_000, keyframe: false }));
  await pass(20);
  assert.equal(connector.state, 'roaming', 'nothing can be decoded without its keyframe');
  second.frame(picture(0, { ...other, ptsUs: EPOCH_US + 8 * FRAME_US - 10_000 }));
  second.frame(picture(2, { ...other, ptsUs: EPOCH_US + 10 * FRAME_US - 10_000 }));
  await pass(20);
  assert.deepEqual(painted.slice(9), [EPOCH_US + 9 * FRAME_US, EPOCH_US + 10 * FRAME_US - 10_000]);
  assert.deepEqual([connector.state, connector.roams, Decoder.opened, engine.video.outOfOrder], ['playing', 1, 1, 0]);
  assert.equal(connector.place.instance, 'i2');
  const [{ id, client_us }] = second.heard('ping');
  sleep(10);
  const theirs = EPOCH_US + nowMs * 1000 + 90_000;
  second.say({ kind: 'pong', id, client_us, received_us: theirs, sent_us: theirs });
  await settle();
  assert.ok(Math.abs(engine.clock.toGateway(nowMs * 1000 + performance.timeOrigin * 1000) - theirs) < 50_000, 'the clock is the new one');
});

test('another instance with another idea of time begins anew', async (t) => {
  const { connector, painted, pass, answer } = await playing(t);
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  second.say(...opening('i2', { timeUs: EPOCH_US - 5e6 }));
  second.frame(picture(0, { group: 2, ptsUs: EPOCH_US - 5e6 }));
  await pass(20);
  assert.deepEqual([painted.at(-1), Decoder.opened, connector.state], [EPOCH_US - 5e6, 2, 'playing']);
  answer(second);
});

test('what cannot be used is held within bounds', async (t) => {
  const { engine, pass } = await playing(t);
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  const received = engine.video.received;
  for (let index = 10; index < 110; index++) second.frame(picture(index));
  await pass(10);
  second.say(...opening('i1'));
  await pass(10);
  assert.equal(engine.video.received - received, 64);
});

test('sessions that fail are tried again ever later, and the first one is kept until it is lost', async (t) => {
  const { connector, states, pass, first } = await playing(t);
  await pass(260);
  /** @type {number[]} */ const opened = [];
  for (let seen = 1; opened.length < 3;) {
    if (Transport.all.length > seen) {
      opened.push(nowMs);
      Transport.all[seen++]?.lose();
    }
    await pass(10);
    if (nowMs > 5000) break;
  }
  const [one = 0, two = 0, three = 0] = opened;
  assert.deepEqual([Math.round((two - one) / 100), Math.round((three - two) / 100)], [10, 20]);
  assert.equal(connector.roams, 0);
  await pass(1200);
  assert.equal(first.end?.reason, 'nothing was heard from the gateway for 4 s');
  assert.equal(states.filter((state) => state === 'reconnecting').length, 0, 'one more is opened in its place first');
  Transport.refuses = true;
  Transport.all.at(-1)?.lose();
  await pass(2500);
  assert.deepEqual([connector.state, connector.reconnects], ['reconnecting', 1]);
});

test('a token that was renewed is used, one that is over is not', async (t) => {
  const { pass, play, first } = await playing(t);
  first.say({ kind: 'resume', token: 'T2', valid_ms: 300 });
  await play(first, 120);
  await pass(260);
  assert.deepEqual(Transport.all.slice(1).map(({ query }) => query.get('resume')), [null]);
});

test('a token that was renewed', async (t) => {
  const { pass, first } = await playing(t);
  first.say({ kind: 'resume', token: 'T2', valid_ms: 60_000 });
  await pass(290);
  assert.deepEqual(Transport.all.slice(1).map(({ query }) => query.get('resume')), ['T2']);
});

test('drain: another node takes over while the first still plays', async (t) => {
  const { connector, states, painted, play, pass, first } = await playing(t);
  first.say({ kind: 'drain', within_ms: 4000, reason: '' });
  await play(first, 40);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  second.say(...opening('i2'));
  second.frame(picture(0, { track: 1, rendition: 9, group: 0 }));
  await play(first, 120);
  assert.equal(Boolean(first.end), false, 'sound alone would leave the picture behind');
  const shown = painted.length;
  const at = { group: 0, ptsUs: /** @type {number} */ (painted.at(-1)) + 25_000 };
  second.frame(picture(0, at));
  await pass(10);
  assert.deepEqual([painted.length, painted.at(-1)], [shown + 1, at.ptsUs]);
  assert.deepEqual([first.heard('goodbye').map(({ code }) => code), first.end?.closeCode], [[0], 0]);
  assert.deepEqual(states, ['connecting', 'joining', 'playing'], 'nobody saw it');
  assert.deepEqual([connector.roams, connector.reconnects], [1, 0]);
  assert.ok(painted.every((us, i) => i === 0 || us > /** @type {number} */ (painted[i - 1])));
});

test('drain: a node that refuses is asked again while the first still plays', async (t) => {
  const { connector, states, play, first } = await playing(t);
  first.say({ kind: 'drain', within_ms: 4000, reason: '' });
  await play(first, 80);
  Transport.all[1]?.lose();
  await play(first, 800);
  assert.equal(Transport.all.length, 2);
  await play(first, 400);
  assert.equal(Transport.all.length, 3);
  assert.deepEqual([states.at(-1), connector.reconnects], ['playing', 0]);
});

test('drain of a page that nobody sees: a session that says something is enough, if it can be used', async (t) => {
  const { engine, connector, pass, play, first } = await playing(t);
  engine.receive({ type: 'visible', visible: false });
  first.say({ kind: 'drain', within_ms: 4000, reason: '' });
  await play(first, 80);
  Transport.all[1]?.say({ kind: 'state', state: 'live', reason: '', retry_in_ms: 0 });
  await play(first, 80);
  assert.equal(Boolean(first.end), false, 'it has not said what it is');
  Transport.all[1]?.lose();
  await play(first, 1000);
  assert.equal(Transport.all.length, 3);
  Transport.all[2]?.say(...opening('i2'));
  await pass(10);
  assert.deepEqual([first.end?.closeCode, connector.state, connector.place.instance], [0, 'playing', 'i2']);
});

test('a session that breaks off: another one goes on at once where it was', async (t) => {
  const { engine, connector, states, painted, pass, first } = await playing(t);
  first.lose();
  await pass(10);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  assert.deepEqual([connector.state, second.query.get('resume'), second.query.get('after')], ['roaming', 'T1', '0.3.7.9']);
  second.say(...opening('i1'));
  second.frame(picture(10));
  await pass(20);
  assert.deepEqual([connector.state, painted.length, connector.reconnects, connector.roams], ['playing', 11, 0, 1]);
  assert.deepEqual([engine.video.lost, Decoder.opened], [0, 1]);
  assert.ok(!states.includes('reconnecting'));
});

test('a session that breaks off before there is another network', async (t) => {
  const { engine, connector, states, pass, first } = await playing(t);
  Transport.refuses = true;
  first.lose();
  await pass(30);
  Transport.refuses = false;
  engine.receive({ type: 'network', event: 'online' });
  await pass(10);
  assert.equal(Transport.all.length, 2, 'at once when it is told');
  engine.receive({ type: 'network', event: 'change' });
  await pass(10);
  assert.equal(Transport.all.length, 2, 'which is told more than once');
  Transport.all[1]?.lose();
  await pass(80);
  assert.equal(Transport.all.length, 3, 'and soon by itself');
  Transport.all[2]?.say(...opening('i1'));
  await pass(10);
  assert.deepEqual([connector.state, connector.roams, connector.reconnects], ['playing', 1, 0]);
  assert.deepEqual(states.slice(2), ['playing', 'roaming', 'playing']);
});

test('a session in place of one that broke off whose first datagram went nowhere is opened anew', async (t) => {
  const { connector, pass, first } = await playing(t);
  first.lose();
  await pass(390);
  assert.equal(Transport.all.length, 2);
  await pass(20);
  assert.deepEqual([Transport.all.length, Transport.all[1]?.end.closeCode], [3, 0]);
  await pass(760);
  assert.equal(Transport.all.length, 3, 'with more patience');
  Transport.all[2]?.say({ kind: 'state', state: 'live', reason: '', retry_in_ms: 0 });
  await pass(400);
  assert.deepEqual([Transport.all.length, connector.state], [3, 'roaming'], 'one that is heard is waited for');
  Transport.all[2]?.say(...opening('i1'));
  await pass(10);
  assert.equal(connector.state, 'playing');
});

test('a session that breaks off, and none comes up in its place', async (t) => {
  const { connector, states, pass, first } = await playing(t);
  first.lose();
  for (let seen = 1; connector.state !== 'reconnecting' && nowMs < 5000;) {
    await pass(10);
    if (Transport.all.length > seen) Transport.all[seen++]?.lose();
  }
  assert.ok(Transport.all.length > 6 && Transport.all.length < 14, `${Transport.all.length} attempts in 2.5 s`);
  assert.deepEqual([connector.reconnects, connector.roams, states.slice(2)], [1, 0, ['playing', 'roaming', 'reconnecting']]);
  const { length } = Transport.all;
  await pass(400);
  assert.deepEqual(Transport.all.slice(length).map(({ query }) => query.get('resume')), [null], 'and then as ever');
});

test('a session that breaks off where no address is of use', async (t) => {
  const { connector, pass, first } = await playing(t);
  Transport.refuses = true;
  first.lose();
  await pass(2520);
  assert.equal(connector.state, 'reconnecting');
});

test('one that is closed for a reason is not opened again at once', async (t) => {
  const { connector, pass, first } = await playing(t);
  first.close({ closeCode: 1, reason: 'shutting down' });
  await pass(10);
  assert.deepEqual([Transport.all.length, connector.state], [1, 'reconnecting']);
});

test('a change of the network is asked about at once', async (t) => {
  const { engine, pass, play, first, answer } = await playing(t);
  const pings = first.heard('ping').length;
  engine.receive({ type: 'network', event: 'change' });
  await settle();
  assert.equal(first.heard('ping').length, pings + 1);
  answer(first);
  await play(first, 160);
  assert.equal(Transport.all.length, 1, 'it was answered');
  engine.receive({ type: 'network', event: 'online' });
  await pass(120);
  assert.equal(Transport.all.length, 1);
  await pass(20);
  assert.equal(Transport.all.length, 2, 'sooner than by silence alone');
});

test('while it waits to connect again, a network that is back is used at once', async (t) => {
  const { engine, pass, first } = await playing(t);
  first.close({ closeCode: 0x21, reason: 'too slow' });
  await pass(10);
  engine.receive({ type: 'network', event: 'offline' });
  await pass(10);
  assert.equal(Transport.all.length, 1);
  engine.receive({ type: 'network', event: 'online' });
  await pass(10);
  assert.equal(Transport.all.length, 2);
});

test('a worker that stood still reads first what has come meanwhile', async (t) => {
  const { connector, pass, play, first, skip } = await playing(t);
  await pass(130); // asked
  sleep(3000);
  t.mock.timers.tick(125); // its timers come, and then what was to be read
  first.frame(picture(10));
  skip(1);
  await play(first, 240);
  assert.deepEqual([Transport.all.length, connector.state], [1, 'playing']);
  await pass(300);
  assert.equal(Transport.all.length, 2, 'and goes on watching');
});

test('where nothing is due, silence is nothing', async (t) => {
  const { pass, first } = await playing(t);
  first.say({ kind: 'state', state: 'retrying', reason: '', retry_in_ms: 1000 });
  await pass(1500);
  assert.equal(Transport.all.length, 1);
});

test('a group that began in one rendition is not continued in another', async (t) => {
  const { engine, painted, pass } = await playing(t);
  await pass(260);
  const [, second] = /** @type {[Transport, Transport]} */ (Transport.all);
  second.say(...opening('i1'));
  second.frame(picture(10, { rendition: 4 }));
  await pass(20);
  assert.deepEqual([painted.length, second.heard('keyframe').map(({ reason }) => reason)], [10, ['gap']]);
  second.frame(picture(0, { group: 8, rendition: 4, ptsUs: EPOCH_US + 11 * FRAME_US }));
  await pass(40);
  assert.deepEqual([painted.length, engine.video.dropped], [11, 1]);
});

test('who stops while two sessions are there leaves none', async (t) => {
  const { connector, pass } = await playing(t);
  await pass(260);
  connector.stop();
  await pass(20);
  assert.ok(Transport.all.every(({ end }) => end !== null));
  assert.equal(connector.state, 'stopped');
  await pass(2000);
  assert.equal(Transport.all.length, 2);
});

test('where a browser would hold a CONNECT back for long no second session is tried, and the ordinary way is left', async (t) => {
  const { connector, pass, play, first } = await playing(t);
  for (let failed = 0; failed < 8; failed++) connector.attempts.failed(nowMs * 1000 + performance.timeOrigin * 1000);
  await pass(2000);
  assert.equal(Transport.all.length, 1);
  await play(first, 400);
  assert.equal(connector.state, 'playing');
  first.lose();
  await pass(20);
  assert.deepEqual([connector.state, connector.reconnects], ['reconnecting', 1], 'at once');
  await pass(400);
  assert.equal(Transport.all.length, 2);
});

test('attempts of which nothing is heard are counted', async (t) => {
  const { connector, pass } = await playing(t);
  const counted = t.mock.method(connector.attempts, 'failed');
  await pass(260);
  assert.equal(counted.mock.callCount(), 0);
  await pass(1000);
  assert.deepEqual([counted.mock.callCount(), Transport.all.length], [1, 3]);
});
