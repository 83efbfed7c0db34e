/**
 * Where decoded frames go. Every sink takes ownership: it closes each VideoFrame it is given, or
 * hands it to someone who does. `paint` says whether the frame was put out.
 */

/** @typedef {import('../types.js').SinkKind} SinkKind */
/** @typedef {import('../types.js').FromWorker} FromWorker */
/** @typedef {{kind: SinkKind, paint(frame: VideoFrame): boolean}} Sink */
/** @typedef {(message: FromWorker, transfer?: Transferable[]) => void} Post */

const MAX_PENDING = 4; // a page that does not take frames must not make us keep them

/** @param {SinkKind} kind @param {WritableStream<VideoFrame>} writable @param {Post} post @returns {Sink} */
export function generatorSink(kind, writable, post) {
  const writer = writable.getWriter();
  let pending = 0;
  let failed = false;
  return {
    kind,
    paint(frame) {
      if (pending >= MAX_PENDING) {
        frame.close();
        return false;
      }
      pending++;
      writer.write(frame).then(() => pending--, (error) => {
        pending--;
        frame.close(); // a second close is harmless, a missing one stalls the decoder
        if (!failed) post({ type: 'sinkFailed', message: String(error) });
        failed = true;
      });
      return true;
    },
  };
}

/** @param {OffscreenCanvas} canvas @param {() => boolean} visible @returns {Sink} */
export function offscreenSink(canvas, visible) {
  const context = canvas.getContext('2d', { alpha: false, desynchronized: true });
  return {
    kind: 'offscreen',
    paint(frame) {
      const show = visible() && context !== null;
      if (show) {
        if (canvas.width !== frame.displayWidth || canvas.height !== frame.displayHeight) {
          canvas.width = frame.displayWidth;
          canvas.height = frame.displayHeight;
        }
        /** @type {OffscreenCanvasRenderingContext2D} */ (context).drawImage(frame, 0, 0);
      }
      frame.close();
      return show;
    },
  };
}

/** Sends frames to the page, which paints, closes and acknowledges them. @param {Post} post */
export function pageSink(post) {
  let pending = 0;
  return {
    kind: /** @type {SinkKind} */ ('canvas'),
    /** @param {VideoFrame} frame */
    paint(frame) {
      if (pending >= MAX_PENDING) {
        frame.close();
        return false;
      }
      pending++;
      post({ type: 'frame', frame, mirror: false }, [frame]);
      return true;
    },
    painted() {
      pending = Math.max(0, pending - 1);
    },
  };
}
