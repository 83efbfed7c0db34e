/**
 * A keyframe of each codec, 64x64, left half dark and right half bright (luma 60 and 200).
 * Written by scripts/support/probe_frames.py; a test decodes them. Imports nothing.
 */

/** By the first part of a codec string; data: base64.
 * @type {Record<string, {codec: string, data: string}>} */
export const PROBES = {
  avc1: {
    codec: 'avc1.42C00A',
    data: 'AAAAAWdCwA2mERCaEAAAAwAQAAADA8jxQqEYAAAAAWjIQjLIAAAAAWWIggNeTFAAHXmT8P/8PRQABbe8nXXXXXXXXXXXXg==',
  },
  hvc1: {
    codec: 'hvc1.1.6.L30.90',
    data: 'AAAAAUABDAH//wFgAAADAJAAAAMAAAMAPJKAkAAAAAFCAQEBYAAAAwCQAAADAAADADygIIEFlkqSTK5oCAAAAwAIAAADAPBAAAAAAUQBwXK0IkAAAAEoAa8GuGQ1iTP/P0L3IBt/UXw6dOIq/6hc+A==',
  },
  av01: {
    codec: 'av01.0.00M.08',
    data: 'EgAKCgAAAAKv/41fMAgyFxAAhwAAAAAABLRKsGcJ8QauMTpYkcgc',
  },
  vp09: {
    codec: 'vp09.00.10.08',
    data: 'gkmDQgAD8AP2ADgkHBhCAAAwYAAAKKf//3ONT//+7TxAAAA=',
  },
};
