/**
 * Opens WebTransport. It stands alone, so that the worker can CONNECT while its other modules are
 * still loading. Imports only types.
 */

/** @typedef {import('../types.js').TransportInfo} TransportInfo */
/** @typedef {import('../types.js').CertificateHash} CertificateHash */
/** @typedef {import('../types.js').Delivery} Delivery */
/** @typedef {{codecs?: string, picture?: boolean, delivery?: Delivery, deadlineMs?: number, resume?: string, after?: string, token?: string}} Wishes */

const SUBPROTOCOL = 'wtgateway-1';
const BUFFERED_DATAGRAMS = 2048; // that nobody has read yet, some 2.5 MB; browsers keep one where nothing is said

/** @param {CertificateHash} hash @returns {Uint8Array<ArrayBuffer>} */
function hashBytes({ value }) {
  if (typeof value !== 'string') return Uint8Array.from(value);
  return Uint8Array.from(atob(value), (letter) => letter.charCodeAt(0));
}

/**
 * Where a session is asked for. The subscription travels with it: it saves a round trip before the first picture.
 * @param {string} base address that the gateway told @param {string} broadcast
 * @param {Wishes} [wish] abilities that are known; false: sound only; 0: the gateway's deadline; the resume token of another
 *   session, and where that was; the token that lets this viewer in
 */
export function sessionUrl(base, broadcast, { codecs = '', picture = true, delivery = 'auto', deadlineMs = 0, resume = '', after = '', token = '' } = {}) {
  const path = broadcast.split('/').map(encodeURIComponent).join('/');
  const query = `v=1&subscribe=${picture ? 'video,audio' : 'audio'}&delivery=${delivery}${
    deadlineMs ? `&deadline=${deadlineMs}` : ''}${codecs ? `&codecs=${codecs}` : ''}${
    resume ? `&resume=${resume}` : ''}${resume && after ? `&after=${after}` : ''}${
    token ? `&token=${encodeURIComponent(token)}` : ''}`;
  return `${base.replace(/\/$/, '')}/${path}?${query}`;
}

/**
 * @param {TransportInfo} info @param {string} broadcast @param {Wishes} [wishes]
 * @returns {WebTransport} that is being opened
 * @throws {Error} the address is of no use, or there is no WebTransport here
 */
export function openTransport(info, broadcast, wishes) {
  const url = sessionUrl(info.url, broadcast, wishes);
  /** @type {WebTransportOptions & {protocols: string[]}} */
  const options = { congestionControl: 'low-latency', protocols: [SUBPROTOCOL] };
  // A certificate signed by a CA must be used without hashes; then the gateway names none.
  if (info.certificateHashes.length) {
    options.serverCertificateHashes = info.certificateHashes.map((hash) => ({ algorithm: 'sha-256', value: hashBytes(hash) }));
  }
  const transport = new WebTransport(url, options);
  const { datagrams } = transport;
  // One of the two, by the age of the browser. What comes before somebody reads waits there.
  if ('incomingMaxBufferedDatagrams' in datagrams) datagrams.incomingMaxBufferedDatagrams = BUFFERED_DATAGRAMS;
  else datagrams.incomingHighWaterMark = BUFFERED_DATAGRAMS;
  return transport;
}

/**
 * All hashes of both lists once; a page that has been open for days knows the next certificate
 * from the control stream before the API shows it.
 * @param {CertificateHash[]} one @param {CertificateHash[]} other @returns {CertificateHash[]}
 */
export function mergeHashes(one, other) {
  /** @type {Map<string, CertificateHash>} */ const all = new Map();
  for (const hash of [...one, ...other]) all.set(hashBytes(hash).join(), hash);
  return [...all.values()];
}

/** An answer of HTTP that is no success. */
export class HttpError extends Error {
  /** @param {string} path @param {Response} response */
  constructor(path, response) {
    super(`${path} answered ${response.status}`);
    this.status = response.status;
    const seconds = Number(response.headers.get('retry-after'));
    this.retryMs = seconds > 0 ? seconds * 1000 : 0;
  }
}

/** @param {string} baseUrl @param {string} path @param {string} [token] @returns {Promise<any>} @throws {HttpError} */
export async function fetchJson(baseUrl, path, token = '') {
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  const response = await fetch(`${baseUrl}${path}`, { cache: 'no-store', headers, signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new HttpError(path, response);
  return response.json();
}
