/** The last values of one figure, and the curve they make. Pure; imports nothing. */

export class Series {
  /** @type {number[]} */ #values = [];

  /** @param {number} capacity values that are kept */
  constructor(capacity) {
    this.capacity = capacity;
  }

  /** Appends a value; anything that is no finite number counts as the value before. @param {number} value */
  push(value) {
    this.#values.push(Number.isFinite(value) ? value : (this.#values.at(-1) ?? 0));
    if (this.#values.length > this.capacity) this.#values.shift();
  }

  /** @returns {readonly number[]} oldest first */
  get values() {
    return this.#values;
  }
}

/**
 * Points of a curve that ends at the right edge and starts at zero at the bottom.
 * @param {readonly number[]} values oldest first
 * @param {number} capacity how many values fill the whole width
 * @param {number} width
 * @param {number} height
 * @param {number} leastTop the top is this value at least, so that noise near zero stays flat
 * @returns {[number, number][]}
 */
export function curve(values, capacity, width, height, leastTop) {
  const top = Math.max(leastTop, ...values);
  const step = width / Math.max(1, capacity - 1);
  const start = width - step * (values.length - 1);
  return values.map((value, i) => {
    const share = top > 0 ? Math.min(1, Math.max(0, value / top)) : 0;
    return [round(start + i * step), round(height - share * height)];
  });
}

/** Points as SVG wants them. @param {[number, number][]} points */
export function svgPoints(points) {
  return points.map(([x, y]) => `${x},${y}`).join(' ');
}

/** The same, closed along the bottom, for the area below. @param {[number, number][]} points @param {number} height */
export function svgArea(points, height) {
  const first = points[0];
  const last = points.at(-1);
  if (!first || !last) return '';
  return `${first[0]},${height} ${svgPoints(points)} ${last[0]},${height}`;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
