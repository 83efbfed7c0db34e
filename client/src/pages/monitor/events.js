/** What happens at the gateway, as it happens: server-sent events, read with a header that EventSource cannot send. */

import { request } from './api.js';

/** @typedef {{kind: string, at: number, number: number, fields: Record<string, string | number | boolean>}} GatewayEvent */

const AGAIN_MS = 3000;
const MAX_LINE = 65_536;

/** Lines to events (HTML Standard, section 9.2.6), of which `id` and `data` are needed here. Pure. */
export class EventReader {
  lastId = '';
  #rest = '';
  #id = '';
  /** @type {string[]} */ #data = [];

  /** @param {string} text @returns {string[]} the data of the events that are complete */
  feed(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > MAX_LINE) throw new RangeError('a line of an event stream is too long');
    /** @type {string[]} */ const out = [];
    for (const line of lines) {
      const done = this.#line(line);
      if (done !== null) out.push(done);
    }
    return out;
  }

  /** @param {string} line */
  #line(line) {
    if (line === '') {
      const data = this.#data;
      this.#data = [];
      this.lastId = this.#id;
      return data.length ? data.join('\n') : null;
    }
    const [, name, value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === 'id' && !value.includes('\0')) this.#id = value;
    else if (name === 'data') this.#data.push(value);
    return null;
  }
}

/**
 * Listens until it is stopped, and again after each end.
 * @param {(event: GatewayEvent) => void} tell @param {string} [after] what was heard before; `0`: all that is kept
 * @returns {() => void} stops
 */
export function listen(tell, after = '0') {
  const stop = new AbortController();
  let lastId = after;
  (async () => {
    while (!stop.signal.aborted) {
      try {
        await read(lastId, stop.signal, (event, id) => {
          lastId = id || lastId;
          tell(event);
        });
      } catch { // the page says by itself that the gateway is away
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  })();
  return () => stop.abort();
}

/** @param {string} after @param {AbortSignal} signal @param {(event: GatewayEvent, id: string) => void} tell */
async function read(after, signal, tell) {
  const answer = await request('GET', `events?after=${encodeURIComponent(after)}`, signal);
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const events = new EventReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const data of events.feed(value)) tell(JSON.parse(data), events.lastId);
  }
}
