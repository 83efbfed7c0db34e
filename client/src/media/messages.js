/**
 * Control messages (docs/protocol.md): msgpack maps, each behind a 32-bit length, as
 * wtgateway/protocol/messages.py has them. Unknown fields are dropped, an unknown kind and a field
 * that is missing or of the wrong type are a WireError. Pure; imports the vendored msgpack.
 */

import { decode } from '../vendor/msgpack/decode.mjs';
import { encode } from '../vendor/msgpack/encode.mjs';
import { WireError } from './wire.js';

/** @typedef {{kind: string, [field: string]: any}} Message */

export const MAX_MESSAGE_BYTES = 64 * 1024;
const MALFORMED = 0x10;
const UNKNOWN_MESSAGE = 0x11;
const TOO_LARGE = 0x13;

/** Type letter of each field, "?" for optional: bool, int, string, list of maps, texts. @type {Record<string, Record<string, string>>} */
const FIELDS = {
  welcome: { version: 'i', session: 's', broadcast: 's', server: 's', time_us: 'i', instance: 's?', node: 's?' },
  catalog: { revision: 'i', tracks: 'l' },
  state: { state: 's', reason: 's?', retry_in_ms: 'i?' },
  certificates: { hashes: 'l' },
  subscribed: { track: 'i', rendition: 'i', delivery: 's' },
  pong: { id: 'i', client_us: 'i', received_us: 'i', sent_us: 'i' },
  statistics: {
    rtt_us: 'i?', congestion_window_bytes: 'i?', in_flight_bytes: 'i?', queue_frames: 'i?', queue_bytes: 'i?',
    queue_us: 'i?', frames_sent: 'i?', frames_dropped: 'i?', streams_reset: 'i?', lost_packets: 'i?',
    delivery_reason: 's?', loss_ppm: 'i?', estimate_bps: 'i?', fec_share_ppm: 'i?', fragments_sent: 'i?',
    repeats_sent: 'i?', nacks_answered: 'i?', frames_late: 'i?',
  },
  resume: { token: 's', valid_ms: 'i' },
  drain: { within_ms: 'i', reason: 's?' },
  access: { granted: 'b', expires_in_ms: 'i?', actions: 't?' },
  error: { code: 'i', message: 's' },
  goodbye: { code: 'i', reason: 's?', retry_after_ms: 'i?' },
  hello: { version: 'i', client: 's?' },
  authenticate: { token: 's' },
  progress: { bytes: 'i' },
  subscribe: { track: 'i', rendition: 'i?', delivery: 's?', deadline_ms: 'i?' },
  abilities: { codecs: 's' },
  unsubscribe: { track: 'i' },
  keyframe: { track: 'i', reason: 's?' },
  ping: { id: 'i', client_us: 'i' },
  feedback: {
    track: 'i', group: 'i?', index: 'i?', arrival_us: 'i?', frames_received: 'i?', frames_decoded: 'i?',
    frames_dropped: 'i?', frames_painted: 'i?', decode_queue: 'i?', latency_us: 'i?', jitter_us: 'i?',
  },
  trace: { frames: 'l' },
  viewport: { width: 'i?', height: 'i?', visible: 'i?', bitrate_bps: 'i?' },
};

/** What an optional field is when it is absent and its type's zero would be wrong. @type {Record<string, Record<string, unknown>>} */
const DEFAULTS = {
  subscribe: { rendition: -1, delivery: 'stream' }, keyframe: { reason: 'gap' }, viewport: { visible: 1 },
};

/** @type {Record<string, unknown>} */
const ZERO = { b: false, i: 0, s: '', t: [] };

/** @param {string} type @param {unknown} value */
function fits(type, value) {
  if (type[0] === 'i') return Number.isInteger(value);
  if (type[0] === 's') return typeof value === 'string';
  if (type[0] === 'b') return typeof value === 'boolean';
  if (type[0] === 't') return Array.isArray(value) && value.every((v) => typeof v === 'string');
  return Array.isArray(value) && value.every((v) => typeof v === 'object' && v !== null && !Array.isArray(v));
}

/** @param {Message} message integers must be whole numbers @returns {Uint8Array} length and map, "kind" first */
export function pack(message) {
  const { kind, ...fields } = message;
  const body = encode({ kind, ...fields });
  if (body.length > MAX_MESSAGE_BYTES) throw new RangeError(`a ${kind} message of ${body.length} bytes is over the limit`);
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, 4);
  return bytes;
}

/** @param {Uint8Array} data msgpack without the length @returns {Message} @throws {WireError} */
export function unpack(data) {
  /** @type {any} */ let body;
  try {
    body = decode(data);
  } catch {
    throw new WireError(MALFORMED, 'a control message is not msgpack');
  }
  if (typeof body?.kind !== 'string') throw new WireError(MALFORMED, 'a control message is not a map with a "kind"');
  const fields = Object.hasOwn(FIELDS, body.kind) ? FIELDS[body.kind] : undefined;
  if (!fields) throw new WireError(UNKNOWN_MESSAGE, `unknown control message "${body.kind.slice(0, 40)}"`);
  /** @type {Message} */ const message = { kind: body.kind };
  for (const [name, type] of Object.entries(fields)) message[name] = field(body, name, type);
  return message;
}

/** @param {any} body @param {string} name @param {string} type */
function field(body, name, type) {
  if (Object.hasOwn(body, name)) {
    if (fits(type, body[name])) return body[name];
    throw new WireError(MALFORMED, `field "${name}" of "${body.kind}" has a wrong type`);
  }
  if (!type.endsWith('?')) throw new WireError(MALFORMED, `a "${body.kind}" message lacks "${name}"`);
  return DEFAULTS[body.kind]?.[name] ?? structuredClone(ZERO[type[0]]);
}

/** Takes a control stream's bytes apart; holds at most one unfinished message. */
export class MessageReader {
  #buffer = new Uint8Array(0);

  /** @param {Uint8Array} data @returns {Message[]} the messages completed by it; @throws {WireError} */
  feed(data) {
    const joined = new Uint8Array(this.#buffer.length + data.length);
    joined.set(this.#buffer);
    joined.set(data, this.#buffer.length);
    this.#buffer = joined;
    /** @type {Message[]} */ const messages = [];
    for (let body = this.#take(); body; body = this.#take()) messages.push(unpack(body));
    return messages;
  }

  #take() {
    if (this.#buffer.length < 4) return null;
    const size = new DataView(this.#buffer.buffer, this.#buffer.byteOffset).getUint32(0);
    if (size > MAX_MESSAGE_BYTES) throw new WireError(TOO_LARGE, `a control message of ${size} bytes is over the limit`);
    if (this.#buffer.length < 4 + size) return null;
    const body = this.#buffer.subarray(4, 4 + size);
    this.#buffer = this.#buffer.subarray(4 + size);
    return body;
  }
}
