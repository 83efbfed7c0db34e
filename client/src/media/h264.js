/**
 * The little of H.264 that the player must know before it has a catalog: whether a payload is
 * Annex B, and the codec string in its SPS (ITU-T H.264 7.3.2.1, RFC 6381 section 3.3). Pure.
 */

const NAL_SPS = 7;

/** @param {Uint8Array} data @returns {boolean} whether it begins with an Annex B start code */
export function isAnnexB(data) {
  return data.length > 4 && data[0] === 0 && data[1] === 0 && (data[2] === 1 || (data[2] === 0 && data[3] === 1));
}

/** @param {number} byte */
const hex = (byte) => byte.toString(16).padStart(2, '0').toUpperCase();

/**
 * @param {Uint8Array} data an access unit as Annex B
 * @returns {string | null} such as "avc1.42E01F"; null without an SPS near its start
 */
export function codecFromAnnexB(data) {
  if (!isAnnexB(data)) return null; // bytes of another codec may look like one of its units
  const end = Math.min(data.length - 6, 512); // parameter sets come first
  for (let i = 0; i <= end; i++) {
    if (data[i] !== 0 || data[i + 1] !== 0 || data[i + 2] !== 1) continue;
    const [header = 0, profile = 0, constraints = 0, level = 0] = data.subarray(i + 3, i + 7);
    if ((header & 0x1f) === NAL_SPS) return `avc1.${hex(profile)}${hex(constraints)}${hex(level)}`;
  }
  return null;
}
