/**
 * Which codecs this browser really decodes: each is tried once, by decoding a picture of it. What
 * isConfigSupported() says is not enough: it has said yes to what then failed. Fetched by itself,
 * when the first picture is there or nothing comes without it (viewing.js).
 */

import { abilityName } from '../media/abilities.js';
import { PROBES } from '../media/probes.js';

const PATIENCE_MS = 2000; // a hardware decoder may have to be started first
const APART = 60; // luma, between the halves of the picture that came out

const USUAL_FPS = 60;
const HIGH_FPS = [240, 120];
const SMALL = { width: 1280, height: 720 };
const SIZES = [{ width: 3840, height: 2160 }, { width: 1920, height: 1080 }, SMALL]; // largest first

/** Of a level that has room for the largest. @type {Record<string, string>} */
const LARGE = { avc1: 'avc1.640034', hvc1: 'hvc1.1.6.L153.90', av01: 'av01.0.13M.08', vp09: 'vp09.00.51.08' };

/** @type {Record<string, AudioDecoderConfig>} */
const SOUND = {
  opus: { codec: 'opus', sampleRate: 48000, numberOfChannels: 2 },
  mp4a: { codec: 'mp4a.40.2', sampleRate: 48000, numberOfChannels: 2 },
};

/** @type {Map<string, Promise<boolean>>} */ const known = new Map();

/**
 * @param {string} codec as in the catalog
 * @returns {Promise<boolean>}
 */
export async function canDecode(codec) {
  const { supported } = await VideoDecoder.isConfigSupported({ codec }).catch(() => ({ supported: false }));
  const name = abilityName(codec);
  const probe = PROBES[name];
  if (!supported || !probe) return Boolean(supported);
  const tried = known.get(name) ?? decodes(probe.codec, Uint8Array.from(atob(probe.data), (c) => c.charCodeAt(0)));
  known.set(name, tried);
  return tried;
}

/** All that can be proven. @returns {Promise<string>} as in media/abilities.js; families side by side, profiles in turn */
export async function prove() {
  const video = await Promise.all(Object.keys(LARGE).map(proveFamily));
  const sound = await Promise.all(Object.keys(SOUND).map(async (name) => ((await canHear(name)) ? name : '')));
  return [...video.flat(), ...sound].filter(Boolean).join(',');
}

/** @param {string} family @returns {Promise<string[]>} */
async function proveFamily(family) {
  /** @type {string[]} */ const able = [];
  for (const [name, { codec }] of Object.entries(PROBES)) {
    if (name.split('.')[0] === family && (await canDecode(codec))) able.push(name);
  }
  if (able.length === 0) return [];
  const limit = await largest(LARGE[family] ?? '');
  return able.map((name) => `${name}:${limit}`);
}

/** The largest picture at a usual rate, and the highest rate of small ones: limits by themselves. @param {string} codec */
async function largest(codec) {
  for (const { width, height } of SIZES) {
    if (!(await manages(codec, width, height, USUAL_FPS))) continue;
    for (const fps of HIGH_FPS) if (await manages(codec, SMALL.width, SMALL.height, fps)) return `${width}x${height}@${fps}`;
    return `${width}x${height}@${USUAL_FPS}`;
  }
  return `${SMALL.width}x${SMALL.height}@${USUAL_FPS / 2}`;
}

/** Whether pictures of that size are decoded in time, as far as the browser knows. @param {string} codec @param {number} width @param {number} height @param {number} fps */
async function manages(codec, width, height, fps) {
  const config = { codec, codedWidth: width, codedHeight: height };
  const { supported } = await VideoDecoder.isConfigSupported(config).catch(() => ({ supported: false }));
  if (!supported || !navigator.mediaCapabilities) return Boolean(supported);
  const video = { contentType: `video/mp4; codecs="${codec}"`, width, height, framerate: fps, bitrate: width * height * fps * 0.05 };
  const told = await navigator.mediaCapabilities.decodingInfo({ type: 'file', video }).catch(() => null);
  return !told?.supported || told.smooth; // a container that it does not play says nothing of the codec
}

/** @param {string} name */
async function canHear(name) {
  const config = SOUND[name];
  if (!config || typeof AudioDecoder === 'undefined') return false;
  const { supported } = await AudioDecoder.isConfigSupported(config).catch(() => ({ supported: false }));
  return Boolean(supported);
}

/**
 * @param {string} codec @param {Uint8Array<ArrayBuffer>} data a keyframe
 * @returns {Promise<boolean>} whether its picture came out as it should
 */
async function decodes(codec, data) {
  /** @type {(fine: boolean) => void} */ let tell = () => {};
  /** @type {Promise<boolean>} */ const told = new Promise((resolve) => { tell = resolve; });
  const decoder = new VideoDecoder({
    output: (picture) => looksRight(picture).then(tell, () => tell(false)).finally(() => picture.close()),
    error: () => tell(false),
  });
  const patience = setTimeout(() => tell(false), PATIENCE_MS);
  try {
    decoder.configure({ codec, optimizeForLatency: true });
    decoder.decode(new EncodedVideoChunk({ type: 'key', timestamp: 0, data }));
    decoder.flush().catch(() => tell(false)); // a decoder that holds pictures back is known by delay, not here
    return await told;
  } catch {
    return false;
  } finally {
    clearTimeout(patience);
    if (decoder.state !== 'closed') decoder.close();
  }
}

/** @param {VideoFrame} picture */
async function looksRight(picture) {
  const { width, height } = picture.visibleRect ?? { width: 0, height: 0 };
  if (width !== 64 || height !== 64) return false;
  const bytes = new Uint8Array(picture.allocationSize());
  const [luma] = await picture.copyTo(bytes);
  const format = String(picture.format ?? '');
  if (!format || !luma) return true; // decoded, but its memory cannot be read (an opaque hardware picture)
  const planar = /^(I4|NV)/.test(format); // planes of luma; else packed RGB, of which any byte will do
  const bits = Number(/P(1[02])$/.exec(format)?.[1] ?? 8);
  const view = new DataView(bytes.buffer);
  const at = (/** @type {number} */ x) => {
    const place = luma.offset + 32 * luma.stride;
    if (bits > 8) return view.getUint16(place + x * 2, true) >> (bits - 8);
    return view.getUint8(place + x * (planar ? 1 : 4));
  };
  return at(48) - at(16) > APART;
}
