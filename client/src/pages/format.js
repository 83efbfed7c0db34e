/** Numbers and codecs as people read them. Pure; imports nothing. */

const NONE = '–';
const SPACE = '\u00a0'; // a number and its unit stay on one line

/** @param {number | null | undefined} value @returns {value is number} */
function known(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

/** Milliseconds: one decimal below ten. @param {number | null | undefined} ms */
export function formatMs(ms) {
  if (!known(ms)) return NONE;
  const rounded = Math.abs(ms) < 9.95 ? ms.toFixed(1) : ms.toFixed(0);
  return `${rounded.replace(/^-(0(\.0)?)$/, '$1')}${SPACE}ms`;
}

/** @param {number | null | undefined} bps */
export function formatBitrate(bps) {
  if (!known(bps) || bps < 0) return NONE;
  if (bps < 999_500) return `${Math.round(bps / 1000)}${SPACE}kbit/s`;
  return `${(bps / 1e6).toFixed(bps < 9.95e6 ? 1 : 0)}${SPACE}Mbit/s`;
}

/** Parts in a million as percent. @param {number | null | undefined} ppm */
export function formatShare(ppm) {
  if (!known(ppm)) return NONE;
  const percent = ppm / 10_000;
  return `${percent.toFixed(Math.abs(percent) < 9.95 ? 1 : 0).replace(/^-(0(\.0)?)$/, '$1')}${SPACE}%`;
}

/** Frames per second, without needless zeros. @param {number | null | undefined} fps */
export function formatFps(fps) {
  if (!known(fps)) return NONE;
  return `${fps.toFixed(2).replace(/\.?0+$/, '')}${SPACE}fps`;
}

/** @param {number | null | undefined} count */
export function formatCount(count) {
  return known(count) ? Math.round(count).toLocaleString('en').replaceAll(',', '\u202f') : NONE;
}

/** @param {number | null | undefined} width @param {number | null | undefined} height */
export function formatSize(width, height) {
  return width && height ? `${width} × ${height}` : NONE;
}

const H264_PROFILES = new Map([[0x42, 'Baseline'], [0x4d, 'Main'], [0x58, 'Extended'], [0x64, 'High']]);
const FAMILIES = new Map([
  ['av01', 'AV1'], ['vp09', 'VP9'], ['vp8', 'VP8'], ['hev1', 'HEVC'], ['hvc1', 'HEVC'], ['opus', 'Opus'], ['mp4a', 'AAC'],
]);

/** Family of a WebCodecs codec string: "avc1.42E01F" is "H.264". @param {string | null | undefined} codec */
export function codecFamily(codec) {
  if (!codec) return NONE;
  const [family = ''] = codec.split('.');
  return family === 'avc1' || family === 'avc3' ? 'H.264' : (FAMILIES.get(family) ?? codec);
}

/** With profile and level where the string tells (RFC 6381). @param {string | null | undefined} codec */
export function codecName(codec) {
  const hex = /^avc[13]\.([0-9a-f]{2})[0-9a-f]{2}([0-9a-f]{2})$/i.exec(codec ?? '');
  if (!hex) return codecFamily(codec);
  const profile = H264_PROFILES.get(parseInt(hex[1] ?? '', 16)) ?? `profile ${hex[1]}`;
  return `H.264 ${profile} ${(parseInt(hex[2] ?? '', 16) / 10).toFixed(1)}`;
}

/** @param {number} channels */
export function channelName(channels) {
  return new Map([[0, ''], [1, 'mono'], [2, 'stereo'], [6, '5.1'], [8, '7.1']]).get(channels) ?? `${channels} channels`;
}

/** Whole seconds until something, never "0 s" while it is not due. @param {number} ms */
export function secondsLeft(ms) {
  return `${Math.max(1, Math.ceil(ms / 1000))}${SPACE}s`;
}
