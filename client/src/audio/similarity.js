/**
 * Where in a sound a piece of it comes again: the offset of the greatest normalised cross-correlation, as WSOLA has it
 * (Verhelst and Roelands, ICASSP 1993). Allocates nothing, so that the worklet may call it. Pure; imports nothing.
 */

/** Samples at 48 kHz. What is left out or repeated at once: pitches of 67 Hz and more. */
export const MIN_LAG = 120;
export const MAX_LAG = 720;
/** Over so many one piece fades into another. */
export const FADE = 240;

const COARSE = 4; // the first look takes every fourth offset, and every fourth sample
const SILENT = 1e-7; // mean square, -70 dB

/**
 * @param {Float32Array} piece @param {number} size samples of it that count
 * @param {Float32Array} field of at least offsets + size - 1 samples @param {number} offsets where it is looked for: 0 .. offsets - 1
 * @returns {number} the offset of what resembles it most
 */
export function mostSimilar(piece, size, field, offsets) {
  const near = best(piece, size, field, 0, offsets, COARSE);
  return best(piece, size, field, Math.max(0, near - COARSE + 1), Math.min(offsets, near + COARSE), 1);
}

/**
 * @param {Float32Array} piece @param {number} size @param {Float32Array} field
 * @param {number} from @param {number} to @param {number} step
 */
function best(piece, size, field, from, to, step) {
  let found = from;
  let most = -Infinity;
  for (let offset = from; offset < to; offset += step) {
    const likeness = likenessAt(piece, size, field, offset, step);
    if (likeness <= most) continue;
    most = likeness;
    found = offset;
  }
  return found;
}

/**
 * The square of the normalised cross-correlation, with its sign, times the piece's own energy.
 * @param {Float32Array} piece @param {number} size @param {Float32Array} field @param {number} offset @param {number} step
 */
function likenessAt(piece, size, field, offset, step) {
  let product = 0;
  let energy = 1e-9; // silence resembles nothing
  for (let i = 0; i < size; i += step) {
    const other = /** @type {number} */ (field[offset + i]);
    product += /** @type {number} */ (piece[i]) * other;
    energy += other * other;
  }
  return (product * Math.abs(product)) / energy;
}

/** Whether nobody would hear it. @param {Float32Array} samples @param {number} size */
export function isSilent(samples, size) {
  let energy = 0;
  for (let i = 0; i < size; i++) energy += /** @type {number} */ (samples[i]) ** 2;
  return energy < SILENT * size;
}
