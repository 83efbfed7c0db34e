/** What a viewer chose last, kept in this browser. Imports nothing; works without storage too. */

/** @param {string} key @param {'localStorage' | 'sessionStorage'} [where] @returns {string | null} */
function read(key, where = 'localStorage') {
  try {
    return globalThis[where].getItem(`wtgateway.${key}`);
  } catch {
    return null; // storage is turned off
  }
}

/** @param {string} key @param {string} value @param {'localStorage' | 'sessionStorage'} [where] */
function write(key, value, where = 'localStorage') {
  try {
    globalThis[where].setItem(`wtgateway.${key}`, value);
  } catch {
    // not kept, then
  }
}

/** What the quality menu is set to where only the sound is wanted. */
export const SOUND_ONLY = 'sound';

export const preference = {
  /** Of one broadcast, while this tab is open: the name of a rendition, SOUND_ONLY, or '' for any. @param {string} broadcast */
  quality: (broadcast) => read(`quality.${broadcast}`, 'sessionStorage') ?? '',
  /** @param {string} broadcast @param {string} quality */
  setQuality: (broadcast, quality) => write(`quality.${broadcast}`, quality, 'sessionStorage'),
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
