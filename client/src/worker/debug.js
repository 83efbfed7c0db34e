/** The worker's side of player.debug; see main/debug.js. Fetched by itself when it is asked. */

/** @typedef {import('./decoder.js').FrameInfo} FrameInfo */
/** @typedef {import('./presenter.js').Presenter} Presenter */
/** @typedef {import('../main/debug.js').Pixels} Pixels */

const GRAB_TIMEOUT_MS = 1000;

/** Pixels of a frame that stays the caller's. @param {VideoFrame | OffscreenCanvas} picture @param {number} width @param {number} height */
function pixels(picture, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false });
  if (!context) throw new Error('no 2d context to read pixels with');
  context.drawImage(picture, 0, 0);
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

/** The pixels of the next frame that is painted. @param {Presenter} presenter @returns {Promise<Pixels>} */
function grabNext(presenter) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      presenter.tap = null;
      reject(new Error('no frame was painted within a second'));
    }, GRAB_TIMEOUT_MS);
    presenter.tap = (picture, { frame }) => {
      presenter.tap = null;
      clearTimeout(timer);
      try {
        const { ptsUs: pts, group, index } = frame;
        resolve({ ...pixels(picture, picture.displayWidth, picture.displayHeight), pts, group, index });
      } catch (error) {
        reject(error);
      }
    };
  });
}

/**
 * What player.debug asks for; throws what it cannot.
 * @param {import('./engine.js').Engine} engine @param {import('../main/debug.js').Command} command @returns {unknown}
 */
export function answer({ video, sound, connector, presenter, clock, report }, command) {
  switch (command) {
    case 'failDecoder': return video.decoder.feedGarbage();
    case 'dropSession': return connector.drop();
    case 'grab': return grabNext(presenter);
    case 'frames': return report.paintLog.list();
    case 'received': return { ...received(video, clock), late: video.late, audio: sound.path ? { ...received(sound.path, clock), before: sound.path.before } : null };
  }
}

/** @param {import('./video.js').VideoPath | import('./audio.js').AudioPath} path @param {import('../media/clock.js').ClockSync} clock */
function received(path, clock) {
  const { newest } = path;
  return {
    arrivalMs: newest ? (clock.toGateway(newest.arrivalUs) - newest.ptsUs) / 1000 : 0,
    framesReceived: path.received, framesDecoded: path.decoded, outOfOrder: path.outOfOrder, lost: path.lost, dropped: path.dropped,
    frames: path.names.list(),
  };
}
