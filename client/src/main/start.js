/** What it takes to start: the worker, and the gateway's address. Page side only. */

/** @typedef {import('../types.js').TransportInfo} TransportInfo */

/**
 * A page may start workers of its own origin only; where the player comes from another one, a script
 * of one line imports the real file, which a page may.
 * @param {URL} url
 */
export function spawnWorker(url) {
  if (url.origin === location.origin) return new Worker(url, { type: 'module' });
  const script = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
  const address = URL.createObjectURL(script);
  const worker = new Worker(address, { type: 'module' });
  worker.addEventListener('message', () => URL.revokeObjectURL(address), { once: true });
  return worker;
}

/** @param {string} baseUrl @param {string} token empty: none @returns {Promise<TransportInfo>} */
export async function fetchTransport(baseUrl, token) {
  const headers = token ? { authorization: `Bearer ${token}` } : undefined;
  const response = await fetch(`${baseUrl}/api/v1/transport`, { cache: 'no-store', headers });
  if (!response.ok) throw new Error(`${baseUrl}/api/v1/transport answered ${response.status}`);
  return response.json();
}

/** The page's own token. @param {import('../types.js').TokenOption | undefined} option @returns {Promise<string>} empty: none was to be had */
export async function askToken(option) {
  try {
    const token = typeof option === 'function' ? await option() : option;
    return typeof token === 'string' ? token : '';
  } catch { // who needs one says so
    return '';
  }
}
