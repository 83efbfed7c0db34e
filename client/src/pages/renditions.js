/** Renditions as people read them. Pure; imports format.js only. */

import { codecFamily, formatBitrate, formatMs } from './format.js';

/**
 * What a rendition is called in a menu: "1080p · 6 Mbit/s", "source · HEVC 1080p".
 * @param {{codec: string, width: number, height: number, fps: number, bitrate_bps: number, forwarded?: boolean}} rendition
 */
export function renditionName({ codec, width, height, fps, bitrate_bps: bps, forwarded }) {
  const lines = Math.min(width, height); // 1080p also when it stands upright
  const size = lines > 0 ? `${lines}p${fps > 45 ? Math.round(fps) : ''}` : '';
  if (forwarded) return `source · ${codecFamily(codec)} ${size}`.trim();
  const rate = bps > 0 ? formatBitrate(bps).replace('.0', '') : codecFamily(codec);
  return size ? `${size} · ${rate}` : rate;
}

/**
 * Names that can be told apart: where two would be the same, their codecs are named too.
 * @param {import('../types.js').Rendition[]} renditions @returns {Map<number, string>} by id
 */
export function renditionNames(renditions) {
  const names = renditions.map(renditionName);
  return new Map(renditions.map(({ id, codec }, i) => {
    const name = names[i] ?? '';
    return [id, names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} · ${codecFamily(codec)}`];
  }));
}

/** What B-frames cost; nothing without them. @param {number} pictures @param {number} ms */
export function reorderWords(pictures, ms) {
  if (pictures <= 0) return '';
  return `shown out of order by up to ${pictures} picture${pictures > 1 ? 's' : ''}: +${formatMs(Math.round(ms)).replace('.0', '')}`;
}
