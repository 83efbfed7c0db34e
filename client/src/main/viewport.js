/**
 * Tells the gateway what this page has use for: how many pixels of its display the picture has, whether
 * anybody can see it, and the bit rate it is to have at most. A script of its own, fetched when the first
 * picture is there. Page side only.
 */

export { watchNetwork } from './network.js'; // which has as much time

/** @typedef {import('../types.js').ToWorker} ToWorker */

const SETTLE_MS = 250; // until a size that changes with every frame, as a window is pulled, is told
const ALONG_MS = 1000; // an element that changes so soon before or after its picture does so because of it

/**
 * Device pixels of an observed element. @param {Pick<ResizeObserverEntry, 'devicePixelContentBoxSize' | 'contentRect'>} entry
 * @param {number} ratio of device pixels to those of CSS
 */
export function pixels({ devicePixelContentBoxSize: exact, contentRect }, ratio) {
  if (exact?.[0]) return { width: exact[0].inlineSize, height: exact[0].blockSize };
  return { width: Math.round(contentRect.width * ratio), height: Math.round(contentRect.height * ratio) };
}

export class Viewport {
  #size = { width: 0, height: 0 };
  #told = '';
  #settled = false;
  #ofItsOwn = false; // the element has had another size than its picture
  #resizedMs = 0;
  #changedMs = -Infinity;
  #picture;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #post;
  #bitrateBps;
  #onVisibility = () => this.#tell();
  #observer = new ResizeObserver(([entry]) => {
    this.#resizedMs = performance.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#settle(entry), SETTLE_MS);
  });

  /**
   * @param {HTMLElement} element that the picture fills @param {(message: ToWorker) => void} post to the worker
   * @param {number} bitrateBps that pictures may have; 0: any @param {{width: number, height: number}} picture
   */
  constructor(element, post, bitrateBps, picture) {
    this.#post = post;
    this.#bitrateBps = Math.max(0, Math.round(bitrateBps)) || 0;
    this.#picture = picture;
    try {
      this.#observer.observe(element, { box: 'device-pixel-content-box' });
    } catch { // Safari has no such box
      this.#observer.observe(element);
    }
    document.addEventListener('visibilitychange', this.#onVisibility);
  }

  /** The picture has another size. @param {{width: number, height: number}} picture */
  changed(picture) {
    this.#picture = picture;
    this.#changedMs = performance.now();
  }

  /**
   * Where a page gives the element no size of its own, it has that of its picture: to tell that would keep
   * small for ever what was made small once.
   * @param {ResizeObserverEntry} entry
   */
  #settle(entry) {
    const { width, height } = entry.contentRect;
    const along = Math.abs(this.#resizedMs - this.#changedMs) < ALONG_MS;
    if (this.#settled && along) return;
    this.#settled = true;
    this.#ofItsOwn ||= Math.abs(width - this.#picture.width) > 1 || Math.abs(height - this.#picture.height) > 1;
    this.#size = this.#ofItsOwn ? pixels(entry, devicePixelRatio) : { width: 0, height: 0 };
    this.#tell();
  }

  /** A new session knows nothing yet. */
  again() {
    this.#told = '';
    if (this.#settled) this.#tell();
  }

  #tell() {
    const { width, height } = this.#size;
    const visible = Number(document.visibilityState === 'visible');
    const message = { kind: 'viewport', width, height, visible, bitrate_bps: this.#bitrateBps };
    const told = JSON.stringify(message);
    if (told === this.#told) return;
    this.#told = told;
    this.#post({ type: 'control', message });
  }

  close() {
    clearTimeout(this.#timer);
    this.#observer.disconnect();
    document.removeEventListener('visibilitychange', this.#onVisibility);
  }
}
