import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageReader, pack } from '../src/media/messages.js';
import { WireError } from '../src/media/wire.js';
import { fromHex, revive, vectors } from './vectors.js';

for (const vector of vectors('messages')) {
  test(`message: ${vector.name}`, () => {
    const [message] = new MessageReader().feed(fromHex(vector.hex));
    const expected = revive(vector.message);
    for (const name of Object.keys(/** @type {object} */ (message))) assert.deepEqual(message?.[name], expected[name], name);
    assert.deepEqual(new MessageReader().feed(pack(expected)), [message]);
  });
}

test('what the viewer sends has the bytes that the gateway would make', () => {
  const kinds = ['hello', 'subscribe', 'abilities', 'unsubscribe', 'keyframe', 'ping', 'feedback', 'trace', 'viewport'];
  const sent = vectors('messages').filter((v) => kinds.includes(v.message.kind));
  assert.ok(sent.length >= kinds.length);
  for (const vector of sent) assert.deepEqual(pack(revive(vector.message)), fromHex(vector.hex), vector.name);
});

test('abilities travel as one text, and must be there', () => {
  const message = { kind: 'abilities', codecs: 'avc1:3840x2160@60,vp09,opus' };
  assert.deepEqual(new MessageReader().feed(pack(message)), [message]);
  assert.throws(() => new MessageReader().feed(pack({ kind: 'abilities' })), WireError);
});

test('messages come out whole, however the bytes are cut', () => {
  const bytes = Buffer.concat(vectors('messages').map((v) => fromHex(v.hex)));
  const whole = new MessageReader().feed(new Uint8Array(bytes));
  const reader = new MessageReader();
  const pieces = Array.from(bytes, (byte) => reader.feed(new Uint8Array([byte]))).flat();
  assert.deepEqual(pieces, whole);
});

for (const vector of vectors('malformed').filter((v) => v.of === 'message')) {
  test(`refused message: ${vector.name}`, () => {
    assert.throws(() => new MessageReader().feed(fromHex(vector.hex)),
      (error) => error instanceof WireError && error.code === vector.code);
  });
}
