import assert from 'node:assert/strict';
import test from 'node:test';

import { SoundDecoder } from '../src/worker/sound_decoder.js';

const PACKET_US = 20_000;

/** As Chromium's: the first packet's timestamp, then samples are counted; `delay` packets stay inside. */
class Counting {
  static delay = 0;
  state = 'configured';
  /** @type {number | null} */ next = null;
  inside = 0;

  /** @param {{output: (data: any) => void}} init */
  constructor({ output }) {
    this.output = output;
  }

  configure() {}

  /** @param {{timestamp: number}} chunk */
  decode({ timestamp }) {
    this.next ??= timestamp;
    if (this.inside < Counting.delay) {
      this.inside++;
      return;
    }
    this.output({ timestamp: this.next, sampleRate: 48000, numberOfChannels: 1, numberOfFrames: 960, copyTo() {}, close() {} });
    this.next += PACKET_US;
  }

  close() {}
}
Object.assign(globalThis, { AudioDecoder: Counting, EncodedAudioChunk: class { constructor(/** @type {any} */ init) { Object.assign(this, init); } } });

/** @param {number[]} packets numbers of those that come @param {number} delay */
function decoded(packets, delay) {
  Counting.delay = delay;
  /** @type {number[]} */ const out = [];
  const decoder = new SoundDecoder(/** @type {any} */ ({ id: 0, codec: 'opus', sample_rate: 48000, channels: 1 }), ({ ptsUs }) => out.push(ptsUs / PACKET_US), () => assert.fail());
  for (const number of packets) decoder.decode(/** @type {any} */ ({ ptsUs: number * PACKET_US, payload: new Uint8Array(1) }));
  return out;
}

test('timestamps are those of the packets, also behind packets that are missing', () => {
  assert.deepEqual(decoded([0, 1, 3, 4, 5, 9, 10], 0), [0, 1, 3, 4, 5, 9, 10]);
});

test('a decoder that holds packets back tells them apart all the same', () => {
  assert.deepEqual(decoded([0, 1, 3, 4, 5, 9, 10, 11], 2), [0, 1, 3, 4, 5, 9]);
});

test('many missing packets do not add up', () => {
  const packets = Array.from({ length: 500 }, (_, n) => n).filter((n) => n % 7);
  assert.deepEqual(decoded(packets, 0), packets);
});
