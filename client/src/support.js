/**
 * What the player needs of a browser, and how to say in plain words what is missing. Not WebTransport: where there is
 * none, a WebSocket carries the picture and the sound.
 * Imports nothing; takes the scope to look at, so that tests can pass one of their own.
 */

/** @typedef {{what: string, why: string, todo: string}} Missing */

const UPDATE = 'Use a current Chrome, Edge, Chromium or Firefox (or Safari 26.4 and later).';

/** @type {{name: string, why: string}[]} */
const NEEDED = [
  { name: 'VideoDecoder', why: 'it decodes the picture (WebCodecs)' },
  { name: 'AudioDecoder', why: 'it decodes the sound (WebCodecs)' },
  { name: 'Worker', why: 'media is handled beside the page, not in it' },
  { name: 'AudioWorkletNode', why: 'it plays the sound without delay' },
];

/** @param {Record<string, any>} scope @returns {Missing | null} */
function insecure(scope) {
  if (scope.isSecureContext !== false) return null;
  const host = scope.location?.host ?? 'this address';
  return {
    what: 'a secure page',
    why: `browsers offer WebTransport and WebCodecs only over HTTPS or on localhost, and ${host} is neither`,
    todo: 'Open the page over https:// (start the gateway with --public or --web-tls-cert), or on the gateway'
      + ' itself as http://localhost.',
  };
}

/**
 * @param {Record<string, any>} [scope] the global object to look at
 * @returns {{ok: boolean, missing: Missing[]}} what is missing, why it matters, what to do
 */
export function checkSupport(scope = globalThis) {
  const secure = insecure(scope);
  // Without a secure context the interfaces are hidden: naming them too would point the wrong way.
  if (secure) return { ok: false, missing: [secure] };
  const missing = NEEDED.filter(({ name }) => typeof scope[name] === 'undefined')
    .map(({ name, why }) => ({ what: name, why, todo: UPDATE }));
  return { ok: missing.length === 0, missing };
}
