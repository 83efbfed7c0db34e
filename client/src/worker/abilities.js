/**
 * Which codecs this browser really decodes: each is tried once, by decoding a picture of it. What
 * isConfigSupported() says is not enough: it has said yes to what then failed.
 */

import { PROBES } from '../media/probes.js';

const PATIENCE_MS = 2000; // a hardware decoder may have to be started first
const APART = 60; // luma, between the halves of the picture that came out

/** @type {Map<string, Promise<boolean>>} */ const known = new Map();

/**
 * @param {string} codec as in the catalog
 * @returns {Promise<boolean>}
 */
export async function canDecode(codec) {
  const family = codec.split('.')[0]?.replace('avc3', 'avc1').replace('hev1', 'hvc1') ?? '';
  const probe = PROBES[family];
  const { supported } = await VideoDecoder.isConfigSupported({ codec }).catch(() => ({ supported: false }));
  if (!supported || !probe) return Boolean(supported);
  const tried = known.get(family) ?? decodes(probe.codec, Uint8Array.from(atob(probe.data), (c) => c.charCodeAt(0)));
  known.set(family, tried);
  return tried;
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
  if (!picture.format || !luma) return true; // decoded, but its memory cannot be read (an opaque hardware picture)
  const step = /^(I4|NV)/.test(picture.format) ? 1 : 4; // planes of luma, or packed RGB: any of its bytes will do
  const at = (/** @type {number} */ x) => bytes[luma.offset + 32 * luma.stride + x * step] ?? 0;
  return at(48) - at(16) > APART;
}
