/** What a browser tells of a change of its network, or that the page has come back to life. Page side only. */

/** @param {(event: string) => void} happened @returns {() => void} stops listening */
export function watchNetwork(happened) {
  const listening = new AbortController();
  const tell = (/** @type {Event} */ event) => happened(event.type);
  /** @type {EventTarget | undefined} not in every browser */ const connection = /** @type {any} */ (navigator).connection;
  for (const type of ['online', 'offline', 'pageshow']) addEventListener(type, tell, { signal: listening.signal });
  connection?.addEventListener('change', tell, { signal: listening.signal });
  return () => listening.abort();
}
