/**
 * The media worker's entry. Joining is measured in milliseconds, so this file does one thing:
 * CONNECT as soon as the page has told where to, while everything else is still being loaded.
 */

import { openTransport } from './transport.js';

/** @typedef {import('../types.js').ToWorker} ToWorker */
/** @typedef {import('../types.js').FromWorker} FromWorker */

/** @type {{postMessage(message: FromWorker, transfer?: Transferable[]): void, onmessage: ((event: MessageEvent<ToWorker>) => void) | null}} */
const page = /** @type {any} */ (globalThis);

const engineModule = import('./engine.js');

/** @type {MessageEvent<ToWorker>[]} */ const early = [];
/** @type {import('./engine.js').EarlyTransport | null} */ let first = null;
const nowUs = () => (performance.timeOrigin + performance.now()) * 1000;
/** @type {import('../types.js').StartMessage | null} */ let start = null;

/** @param {ToWorker} message */
function connectEarly(message) {
  if (message.type === 'start') start = message;
  if (message.type === 'token' && start && message.token) start.token = message.token;
  if (message.type !== 'transport' || !message.info || !start || first || start.transport === 'websocket') return;
  try {
    const early = first = { connectUs: nowUs(), readyUs: 0, transport: openTransport(message.info, start.broadcast, start) };
    // What fails here fails again for the engine, which says so.
    early.transport.ready.then(() => { early.readyUs = nowUs(); }, () => {});
    early.transport.closed.catch(() => {});
  } catch { // a bad address or no WebTransport: the engine meets it again and says so
  }
}

page.onmessage = (event) => {
  early.push(event);
  connectEarly(event.data);
};

const { Engine } = await engineModule;
const engine = new Engine((message, transfer = []) => page.postMessage(message, transfer), first);
page.onmessage = (event) => engine.receive(event.data);
for (const event of early) engine.receive(event.data);
