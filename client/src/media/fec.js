/**
 * Parity over the fragments of one frame: systematic Reed-Solomon over GF(2^8) with polynomial 0x11D and
 * a Cauchy matrix, scaled so that row 0 is plain XOR (docs/protocol.md, "Fragments"), as
 * wtgateway/protocol/fec.py has it. Of `count` data pieces and any rows, any `count` give all data.
 * Pure; imports nothing.
 */

const POLYNOMIAL = 0x11d;
const FIRST_ROW = 192; // data pieces are the field's elements below, rows those from here

const EXP = new Uint8Array(512); // twice around, so that a sum of two logarithms needs no modulus
const LOG = new Uint8Array(256);
for (let power = 0, value = 1; power < 255; power++) {
  EXP[power] = EXP[power + 255] = value;
  LOG[value] = power;
  value = (value << 1) ^ (value & 0x80 ? POLYNOMIAL : 0);
}

/** @param {number} a @param {number} b @returns {number} the product in the field */
const times = (a, b) => (a && b ? at(EXP, at(LOG, a) + at(LOG, b)) : 0);

/** @param {number} a @param {number} b not 0 @returns {number} a / b in the field */
const over = (a, b) => (a ? at(EXP, at(LOG, a) + 255 - at(LOG, b)) : 0);

/** @param {Uint8Array} bytes @param {number} index */
const at = (bytes, index) => /** @type {number} */ (bytes[index]);

/** What data piece `piece` (0..191) counts in parity row `row` (0..63). @param {number} row @param {number} piece */
export const coefficient = (row, piece) => over(FIRST_ROW ^ piece, (FIRST_ROW + row) ^ piece);

/**
 * Adds `factor` times `source` to `target`; a source that is shorter counts as padded with zeros.
 * @param {Uint8Array} target @param {Uint8Array} source @param {number} factor
 */
function addScaled(target, source, factor) {
  const { length } = source;
  if (factor === 1) {
    for (let i = 0; i < length; i++) target[i] = at(target, i) ^ at(source, i);
    return;
  }
  const products = new Uint8Array(256);
  for (let value = 0; value < 256; value++) products[value] = times(factor, value);
  for (let i = 0; i < length; i++) target[i] = at(target, i) ^ at(products, at(source, i));
}

/**
 * The data pieces that are missing, each `pieceBytes` long, the last with its padding.
 * @param {Map<number, Uint8Array>} pieces data pieces that are here, by number
 * @param {Map<number, Uint8Array>} rows parity pieces that are here, by row, all of `pieceBytes`
 * @param {number} count of all data pieces @param {number} pieceBytes
 * @returns {Map<number, Uint8Array>} by number
 * @throws {RangeError} fewer than `count` pieces and rows together
 */
export function recover(pieces, rows, count, pieceBytes) {
  /** @type {number[]} */ const missing = [];
  for (let number = 0; number < count; number++) if (!pieces.has(number)) missing.push(number);
  const used = [...rows.keys()].sort((a, b) => a - b).slice(0, missing.length);
  if (used.length < missing.length) throw new RangeError(`${missing.length} pieces are missing, and ${used.length} rows are here`);
  const sums = used.map((row) => {
    const sum = new Uint8Array(pieceBytes);
    addScaled(sum, /** @type {Uint8Array} */ (rows.get(row)), 1);
    for (const [number, data] of pieces) addScaled(sum, data, coefficient(row, number));
    return sum;
  });
  solve(used.map((row) => Uint8Array.from(missing, (number) => coefficient(row, number))), sums);
  return new Map(missing.map((number, i) => [number, /** @type {Uint8Array} */ (sums[i])]));
}

/**
 * Gauss-Jordan in place: `sums` become the solution. Every square part of a Cauchy matrix can be
 * inverted, and so can what is left of it at each step without changing rows: no pivot is 0.
 * @param {Uint8Array[]} matrix @param {Uint8Array[]} sums
 */
function solve(matrix, sums) {
  for (const [i, line] of matrix.entries()) {
    const sum = /** @type {Uint8Array} */ (sums[i]);
    const scale = over(1, at(line, i));
    for (const bytes of [line, sum]) for (let k = 0; k < bytes.length; k++) bytes[k] = times(at(bytes, k), scale);
    for (const [j, other] of matrix.entries()) {
      const factor = j === i ? 0 : at(other, i);
      if (!factor) continue;
      addScaled(other, line, factor);
      addScaled(/** @type {Uint8Array} */ (sums[j]), sum, factor);
    }
  }
}
