/**
 * What a viewer decodes, as one text: "avc1:3840x2160@60,av01,vp09.01:1920x1080@30,opus". Names and
 * limits as in wtgateway/protocol/abilities.py. Pure; imports nothing.
 */

/** @typedef {{codec: string, width?: number, height?: number, fps?: number}} Coding what of a rendition matters here */

const FORM = /^[\w.:@,]{1,512}$/;
const LIMIT = /^(\d{1,5})x(\d{1,5})@(\d{1,3})$/;
const PLAIN_AVC = ['42', '4D', '58', '64']; // Baseline, Main, Extended, High: every decoder takes them

/** Whether a text may stand in an address. @param {unknown} text @returns {text is string} */
export function isAbilities(text) {
  return typeof text === 'string' && FORM.test(text);
}

/** The name that a WebCodecs codec string has among abilities. @param {string} codec */
export function abilityName(codec) {
  const [start = '', ...fields] = codec.split('.');
  const family = start.replace('avc3', 'avc1').replace('hev1', 'hvc1');
  const [first = '', , third = ''] = fields;
  /** @param {boolean} plain @param {string} further */
  const named = (plain, further) => (plain ? family : `${family}.${further}`);
  if (family === 'avc1' && first) {
    const profile = first.slice(0, 2).toUpperCase();
    return named(PLAIN_AVC.includes(profile), profile);
  }
  if (family === 'hvc1' && first) {
    const profile = first.replace(/^[ABC]/, '');
    return named(profile === '1' || profile === '3', profile);
  }
  if (family === 'av01' && third) return named(first === '0' && third === '08', `${first}.${third}`);
  if (family === 'mp4a' && first) return fields.join('.') === '40.2' ? family : codec;
  if (family === 'vp09' && first) return named(first === '00', first);
  return family;
}

/**
 * Whether a viewer of those abilities can decode it; empty abilities are not known, and then only
 * H.264 and Opus are taken for sure, as the gateway does.
 * @param {string} abilities @param {Coding} coding
 */
export function decodable(abilities, { codec, width = 0, height = 0, fps = 0 }) {
  const name = abilityName(codec);
  for (const entry of (abilities || 'avc1,opus').split(',')) {
    const [known, limit = ''] = entry.split(':');
    if (known !== name) continue;
    const [, mostWidth = 0, mostHeight = 0, mostFps = 0] = LIMIT.exec(limit)?.map(Number) ?? [];
    const pixels = mostWidth * mostHeight;
    return (!pixels || width * height <= pixels) && (!mostFps || fps <= mostFps + 1); // 59.94 and 60 are the same
  }
  return false;
}
