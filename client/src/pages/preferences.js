/** What a viewer chose last, kept in this browser. Imports nothing; works without storage too. */

/** @param {string} key @returns {string | null} */
function read(key) {
  try {
    return localStorage.getItem(`wtgateway.${key}`);
  } catch {
    return null; // storage is turned off
  }
}

/** @param {string} key @param {string} value */
function write(key, value) {
  try {
    localStorage.setItem(`wtgateway.${key}`, value);
  } catch {
    // not kept, then
  }
}

export const preference = {
  /** @returns {import('../types.js').LatencyMode} */
  get latencyMode() {
    const mode = read('latencyMode');
    return mode === 'sync' || mode === 'smooth' ? mode : 'asap';
  },
  set latencyMode(mode) {
    write('latencyMode', mode);
  },
  /** 0..1. @returns {number} */
  get volume() {
    const volume = Number(read('volume') ?? 1);
    return volume >= 0 && volume <= 1 ? volume : 1;
  },
  set volume(volume) {
    write('volume', String(volume));
  },
  /** Whether the statistics were open. @returns {boolean} */
  get statistics() {
    return read('statistics') === 'open';
  },
  set statistics(open) {
    write('statistics', open ? 'open' : '');
  },
};
