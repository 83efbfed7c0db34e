/**
 * Where the picture is shown: picks the sink (docs/architecture.md, "The sink ladder"), owns its
 * element, and makes a MediaStreamTrack of the picture for whoever asks. Page side only.
 *
 * Ladder: generator -> <video> (about 7 ms sooner on the glass than a canvas), OffscreenCanvas in
 * the worker, canvas on the page. A worker with a VideoTrackGenerator takes that before the canvas
 * offered to it and sends the track here.
 */

/** @typedef {import('../types.js').SinkKind} SinkKind */
/** @typedef {import('../types.js').ToWorker} ToWorker */
/** @typedef {{message: ToWorker, transfer: Transferable[]}} Offer */

/** @param {HTMLElement} element */
function fill(element) {
  Object.assign(element.style, { display: 'block', width: '100%', height: '100%', objectFit: 'contain' });
}

export class Surface {
  /** @type {HTMLVideoElement | HTMLCanvasElement | null} */ element = null;
  /** @type {SinkKind | ''} */ kind = '';
  /** @type {MediaStreamTrack | null} */ #track = null;
  /** @type {HTMLCanvasElement | null} */ #mirror = null;
  /** @type {HTMLElement} */ #target;
  /** @type {SinkKind | undefined} */ #forced;
  /** @type {(on: boolean) => void} */ #wantMirror;
  /** @type {Set<SinkKind>} */ #failed = new Set();
  #rotation = 0;
  seen = { width: 0, height: 0 };
  #resized = new ResizeObserver(() => this.#fit());

  /**
   * @param {HTMLElement} target a <canvas> to paint on, or an element to put the picture into
   * @param {SinkKind | undefined} forced
   * @param {(on: boolean) => void} wantMirror asks the worker for copies of the frames
   */
  constructor(target, forced, wantMirror) {
    this.#target = target;
    this.#forced = forced;
    this.#wantMirror = wantMirror;
  }

  /** Takes the first rung that works here; what was offered to a worker that is gone gives way. @returns {Offer} what to tell the worker */
  offer() {
    this.kind = this.#pick();
    if (this.kind === 'generator') return this.#offerGenerator();
    if (this.#mirror) this.#wantMirror(true);
    const canvas = this.#canvas();
    if (this.kind === 'canvas') return { message: { type: 'sink', kind: 'canvas' }, transfer: [] };
    try {
      const offscreen = canvas.transferControlToOffscreen();
      return { message: { type: 'sink', kind: this.kind, canvas: offscreen }, transfer: [offscreen] };
    } catch { // the canvas has a context already
      this.kind = 'canvas';
      return { message: { type: 'sink', kind: 'canvas' }, transfer: [] };
    }
  }

  /** Whether another worker can be offered the same: a worker that paints on the page's own canvas has it for ever. */
  get renewable() {
    return this.kind === 'canvas' || this.element !== this.#target;
  }

  /** The worker could not use the sink: one rung down. @returns {Offer} */
  next() {
    if (this.kind) this.#failed.add(this.kind);
    this.#forced = undefined;
    if (this.element && this.element !== this.#target) this.element.remove();
    this.element = null;
    return this.offer();
  }

  /** @returns {SinkKind} */
  #pick() {
    if (this.#forced) return this.#forced;
    const own = this.#target instanceof HTMLCanvasElement;
    if (!own && typeof MediaStreamTrackGenerator !== 'undefined' && !this.#failed.has('generator')) return 'generator';
    const offscreen = 'transferControlToOffscreen' in HTMLCanvasElement.prototype;
    if (!offscreen || this.#failed.has('offscreen')) return 'canvas';
    return own || this.#failed.has('trackgenerator') ? 'offscreen' : 'trackgenerator';
  }

  /** @returns {Offer} */
  #offerGenerator() {
    const generator = new MediaStreamTrackGenerator({ kind: 'video' });
    this.showTrack(generator);
    const { writable } = generator;
    return {
      message: { type: 'sink', kind: 'generator', writable },
      transfer: [/** @type {Transferable} */ (/** @type {unknown} */ (writable))],
    };
  }

  #canvas() {
    if (this.#target instanceof HTMLCanvasElement) return (this.element = this.#target);
    const canvas = document.createElement('canvas');
    this.#put(canvas);
    return canvas;
  }

  /** @param {HTMLVideoElement | HTMLCanvasElement} element */
  #put(element) {
    fill(element);
    element.classList.add('wtgateway-picture');
    if (this.element && this.element !== this.#target) this.element.remove();
    this.#target.prepend(element);
    this.element = element;
    this.#fit();
  }

  /** Turns what is seen. @param {number} degrees clockwise: 0, 90, 180 or 270 @param {{width: number, height: number}} seen */
  turn(degrees, seen) {
    this.#rotation = degrees;
    this.seen = seen;
    this.#resized.disconnect();
    if (degrees % 180 !== 0) this.#resized.observe(this.#target);
    this.#fit();
  }

  /** A picture that lies on its side has the sides of its container the other way round. */
  #fit() {
    const { element } = this;
    if (!element) return;
    const { clientWidth: width, clientHeight: height } = this.#target;
    const lying = this.#rotation % 180 !== 0;
    const turn = this.#rotation ? `rotate(${this.#rotation}deg)` : '';
    if (element === this.#target) { // the page's own canvas keeps its place, and its picture fits into it
      if (lying) element.style.objectFit = 'contain';
      element.style.transform = lying ? `${turn} scale(${turnedScale({ width, height }, this.seen)})` : turn;
      return;
    }
    if (lying && getComputedStyle(this.#target).position === 'static') this.#target.style.position = 'relative';
    Object.assign(element.style, lying
      ? { position: 'absolute', top: '50%', left: '50%', width: `${height}px`, height: `${width}px`, maxWidth: 'none', maxHeight: 'none' }
      : { position: '', top: '', left: '', width: '100%', height: '100%', maxWidth: '', maxHeight: '' });
    element.style.transform = lying ? `translate(-50%, -50%) ${turn}` : turn;
  }

  /** Shows a track that carries the picture in a <video>. @param {MediaStreamTrack} track */
  showTrack(track) {
    this.#track = track;
    const video = document.createElement('video');
    video.muted = video.playsInline = video.autoplay = true;
    video.srcObject = new MediaStream([track]);
    this.#put(video);
    this.play();
  }

  /**
   * A <video> without a frame holds back the page's load event. While nothing can come it lets go
   * of its stream; once the page has loaded it does not matter.
   * @param {boolean} expected whether frames may come
   */
  expectFrames(expected) {
    const video = this.element;
    if (!(video instanceof HTMLVideoElement) || !this.#track) return;
    if (!expected && document.readyState !== 'complete') video.srcObject = null;
    if (!expected || video.srcObject) return;
    video.srcObject = new MediaStream([this.#track]);
    this.play();
  }

  /** A <video> pauses when its page is hidden in some browsers; harmless otherwise. */
  play() {
    if (this.element instanceof HTMLVideoElement) this.element.play().catch(() => {});
  }

  /** Paints a frame on the page's canvas and closes it. @param {VideoFrame} frame */
  paint(frame) {
    const canvas = this.element;
    if (canvas instanceof HTMLCanvasElement) draw(canvas, frame);
    frame.close();
  }

  /** Paints a copy for getVideoTrack() and closes it. @param {VideoFrame} frame */
  mirror(frame) {
    if (this.#mirror) draw(this.#mirror, frame);
    frame.close();
    const track = this.#track;
    if (track && 'requestFrame' in track) /** @type {CanvasCaptureMediaStreamTrack} */ (track).requestFrame();
  }

  /**
   * A track of its own for each caller; stopping it does not stop the picture. Without a generator
   * it comes from a second canvas on the page, because a canvas whose control was transferred
   * cannot be captured in Firefox.
   * @returns {MediaStreamTrack | null}
   */
  videoTrack() {
    if (!this.#track) {
      this.#mirror = document.createElement('canvas');
      this.#mirror.getContext('2d', { alpha: false });
      this.#track = this.#mirror.captureStream(0).getVideoTracks()[0] ?? null;
      this.#wantMirror(true);
    }
    return this.#track?.clone() ?? null;
  }

  close() {
    this.#resized.disconnect();
    this.#track?.stop();
    if (this.element && this.element !== this.#target) this.element.remove();
    this.element = null;
  }
}

/**
 * How much larger a picture gets that was fitted into a box lying, and is turned by a quarter to stand in it.
 * @param {{width: number, height: number}} box @param {{width: number, height: number}} seen after it was turned
 */
export function turnedScale(box, seen) {
  if (!box.width || !box.height || !seen.width || !seen.height) return 1;
  const lying = Math.min(box.width / seen.height, box.height / seen.width);
  const standing = Math.min(box.width / seen.width, box.height / seen.height);
  return standing / lying;
}

/** @param {HTMLCanvasElement} canvas @param {VideoFrame} frame */
function draw(canvas, frame) {
  if (canvas.width !== frame.displayWidth || canvas.height !== frame.displayHeight) {
    canvas.width = frame.displayWidth;
    canvas.height = frame.displayHeight;
  }
  canvas.getContext('2d', { alpha: false })?.drawImage(frame, 0, 0);
}
