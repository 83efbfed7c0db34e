/** Planes of samples: taken from AudioData, measured, and joined. */

const RAMP = 96; // samples, 2 ms

/** @param {AudioData} data still the caller's @returns {Float32Array<ArrayBuffer>[]} one per channel */
export function planesOf(data) {
  return Array.from({ length: data.numberOfChannels }, (_, planeIndex) => {
    const plane = new Float32Array(data.numberOfFrames);
    data.copyTo(plane, { planeIndex, format: 'f32-planar' });
    return plane;
  });
}

/** @param {Float32Array[]} planes @returns {number[]} root mean square of each channel, full scale is 1 */
export function levelsOf(planes) {
  return planes.map((plane) => Math.sqrt(plane.reduce((sum, value) => sum + value * value, 0) / (plane.length || 1)));
}

/** What follows other samples must not begin with a step. @param {number[]} edge last sample of each channel @param {Float32Array[]} planes */
export function joinOn(edge, planes) {
  planes.forEach((plane, channel) => {
    const [first = 0, second = first] = plane;
    const step = (edge[channel] ?? 0) + (second - first) - first; // from where the edge leads to
    for (let i = 0; i < Math.min(RAMP, plane.length); i++) plane[i] = (plane[i] ?? 0) + step * (1 - i / RAMP);
  });
}
