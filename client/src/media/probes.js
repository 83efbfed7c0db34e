/**
 * A keyframe of each codec and profile, 64x64, left half dark, right half bright (luma 60, 200).
 * Written by scripts/support/probe_frames.py; a test decodes them. Imports nothing.
 */

/** By their names among a viewer's abilities (docs/protocol.md); data: base64.
 * @type {Record<string, {codec: string, data: string}>} */
export const PROBES = {
  avc1: {
    codec: 'avc1.42C00D',
    data: 'AAAAAWdCwA2mERCaEAAAAwAQAAADA8jxQqEYAAAAAWjIQjLIAAAAAWWIggNeTFAAHXmT8P/8PRQABbe8nXXXXXXXXXXXXg==',
  },
  'avc1.6E': {
    codec: 'avc1.6E000C',
    data: 'AAAAAWduAAymxMIiE0IAAAMAAgAAAwB5HihUIwAAAAFo6EMyyLAAAAABZYiCATf//vfUt8yy+LXIrYLqEmB/XUkiKcioenBoTDO3zJuS+3Qd',
  },
  'avc1.7A': {
    codec: 'avc1.7A000B',
    data: 'AAAAAWd6AAu8TCIhNCAAAAMAIAAAB5HihUIwAAAAAWjoQzLIsAAAAAFliIIDX/731LfMsuKh+tguoSYH1ykiKcioenBoTDO3zJuS+3Qd',
  },
  'avc1.F4': {
    codec: 'avc1.F4000B',
    data: 'AAAAAWf0AAuRiYREJoQAAAMABAAAAwDyPFCoRgAAAAFo6EMxEhEAAAABZYiCA1/+98D/ApuSZ//5tf/+kBgfXKSf4w/xr+wF/7G37477r+yGy5tmXqka6q+B',
  },
  hvc1: {
    codec: 'hvc1.1.6.L30.90',
    data: 'AAAAAUABDAH//wFgAAADAJAAAAMAAAMAPJKAkAAAAAFCAQEBYAAAAwCQAAADAAADADygIIEFlkqSTK5oCAAAAwAIAAADAPBAAAAAAUQBwXK0IkAAAAEoAa8GuGQ1iTP/P0L3IBt/UXw6dOIq/6hc+A==',
  },
  'hvc1.2': {
    codec: 'hvc1.2.4.L30.90',
    data: 'AAAAAUABDAH//wIgAAADAJAAAAMAAAMAPJKAkAAAAAFCAQECIAAAAwCQAAADAAADADygIIEE2WSpJMrmgIAAAAMAgAAADwQAAAABRAHBcrQiQAAAASgBrwa4ZDWJM/8/QvcgG39RfDp9nP4=',
  },
  'hvc1.4': {
    codec: 'hvc1.4.10.L30.9E.8',
    data: 'AAAAAUABDAH//wQIAAADAJ4IAAADAAA8koCQAAAAAUIBAQQIAAADAJ4IAAADAAA8kAQQILLJUkmVzQEAAAMAAQAAAwAeCAAAAAFEAcFyhgxCJAAAASgBrwa4ZDWJM/8/QvcgG39RfDp04ir/qFz4',
  },
  av01: {
    codec: 'av01.0.00M.08',
    data: 'EgAKCgAAAAKv/41fMAgyFxAAhwAAAAAABLRKsGcJ8QauMTpYkcgc',
  },
  'av01.0.10': {
    codec: 'av01.0.00M.10',
    data: 'EgAKCgAAAAKv/41fOAgyGhAAhwAIIAAAAABAtEqwMRaLgaLkgOWJGtZQ',
  },
  vp09: {
    codec: 'vp09.00.10.08',
    data: 'gkmDQgAD8AP2ADgkHBhCAAAwYAAAKKf//3ONT//+7TxAAAA=',
  },
  'vp09.01': {
    codec: 'vp09.01.10.08.03',
    data: 'okmDQgAAfgB+wAcEg4MIQAAGYAAAKKf//3ONT//+7TxAAAAA',
  },
};
