/**
 * Which codecs this browser really decodes: each is tried once, by decoding a picture of it. What
 * isConfigSupported() says is not enough: it has said yes to what then failed. Fetched by itself,
 * when the first picture is there or nothing comes without it (viewing.js).
 */

import { abilityName } from '../media/abilities.js';
import { PROBES } from '../media/probes.js';
import { SOUND_PROBES } from '../media/sound_probes.js';
import { levelsOf, planesOf } from './samples.js';

const PATIENCE_MS = 2000; // a hardware decoder may have to be started first
const APART = 60; // luma, between the halves of the picture that came out
const LOUD = 0.2; // root mean square of the tone on the left
const SILENT = 0.02; // and of nothing on the right

/** @param {string} data base64 */
const bytesOf = (data) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0));

const USUAL_FPS = 60;
const HIGH_FPS = [240, 120];
const SMALL = { width: 1280, height: 720 };
const SIZES = [{ width: 3840, height: 2160 }, { width: 1920, height: 1080 }, SMALL]; // largest first

/** Of a level that has room for the largest. @type {Record<string, string>} */
const LARGE = { avc1: 'avc1.640034', hvc1: 'hvc1.1.6.L153.90', av01: 'av01.0.13M.08', vp09: 'vp09.00.51.08' };

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
  const tried = known.get(name) ?? decodes(probe.codec, bytesOf(probe.data));
  known.set(name, tried);
  return tried;
}

/** All that can be proven. @returns {Promise<string>} as in media/abilities.js; families side by side, profiles in turn */
export async function prove() {
  const video = await Promise.all(Object.keys(LARGE).map(proveFamily));
  const sound = await Promise.all(Object.keys(SOUND_PROBES).map(async (name) => ((await canHear(name)) ? name : '')));
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

/** @param {string} name of a codec of sound @returns {Promise<boolean>} whether it came out as it should */
export async function canHear(name) {
  const probe = SOUND_PROBES[name];
  if (!probe || typeof AudioDecoder === 'undefined') return false;
  const config = {
    codec: probe.codec, sampleRate: 48000, numberOfChannels: 2,
    ...(probe.description ? { description: bytesOf(probe.description) } : {}),
  };
  const { supported } = await AudioDecoder.isConfigSupported(config).catch(() => ({ supported: false }));
  if (!supported) return false;
  const { levels, flushed } = await heard(config, probe.packets.map(bytesOf));
  return flushed && levels.some(([left = 0, right = 1, ...more]) => left > LOUD && right < SILENT && more.length === 0);
}

/**
 * @param {AudioDecoderConfig} config @param {Uint8Array<ArrayBuffer>[]} packets
 * @returns {Promise<{levels: number[][], flushed: boolean}>} of each packet, one for each channel
 */
async function heard(config, packets) {
  /** @type {number[][]} */ const levels = [];
  const decoder = new AudioDecoder({
    output: (data) => {
      if (data.sampleRate === config.sampleRate) levels.push(levelsOf(planesOf(data)));
      data.close();
    },
    error: () => {},
  });
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let patience;
  try {
    decoder.configure(config);
    packets.forEach((data, i) => decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: i * 20_000, data })));
    const late = new Promise((resolve) => { patience = setTimeout(() => resolve(false), PATIENCE_MS); });
    return { levels, flushed: Boolean(await Promise.race([decoder.flush().then(() => true, () => false), late])) };
  } catch {
    return { levels, flushed: false };
  } finally {
    clearTimeout(patience);
    if (decoder.state !== 'closed') decoder.close();
  }
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
