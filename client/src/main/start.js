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

/** @param {string} baseUrl @returns {Promise<TransportInfo>} */
export async function fetchTransport(baseUrl) {
  const response = await fetch(`${baseUrl}/api/v1/transport`, { cache: 'no-store' });
  if (!response.ok) throw new Error(`${baseUrl}/api/v1/transport answered ${response.status}`);
  return response.json();
}
