/**
 * Tells the gateway what this page has use for: how many pixels of its display the picture has, whether
 * anybody can see it, and the bit rate it is to have at most. A script of its own, fetched when the first
 * picture is there. Page side only.
 */

/** @typedef {import('../types.js').ToWorker} ToWorker */

const SETTLE_MS = 250; // until a size that changes with every frame, as a window is pulled, is told

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
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #post;
  #bitrateBps;
  #onVisibility = () => this.#tell();
  #observer = new ResizeObserver(([entry]) => {
    this.#size = pixels(entry, devicePixelRatio);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), SETTLE_MS);
  });

  /**
   * @param {HTMLElement} element that the picture fills @param {(message: ToWorker) => void} post to the worker
   * @param {number} bitrateBps that pictures may have; 0: any
   */
  constructor(element, post, bitrateBps) {
    this.#post = post;
    this.#bitrateBps = Math.max(0, Math.round(bitrateBps)) || 0;
    try {
      this.#observer.observe(element, { box: 'device-pixel-content-box' });
    } catch { // Safari has no such box
      this.#observer.observe(element);
    }
    document.addEventListener('visibilitychange', this.#onVisibility);
  }

  /** A new session knows nothing yet. */
  again() {
    this.#told = '';
    if (this.#size.width) this.#tell();
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
