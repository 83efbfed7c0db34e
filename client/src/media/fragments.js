/**
 * Fragments and parity pieces of frame objects, each a datagram (docs/protocol.md, "Fragments"), as
 * wtgateway/protocol/fragments.py has them. Pure; imports the error of the wire only.
 */

import { FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES, WireError } from './wire.js';

/**
 * @typedef {object} Fragment
 * @property {boolean} parity a piece of parity: `number` is then its row of the code
 * @property {boolean} keyframe
 * @property {boolean} discardable
 * @property {number} track
 * @property {number} rendition
 * @property {number} group
 * @property {number} index
 * @property {number} objectBytes size of the whole frame object
 * @property {number} number of the piece, from 0
 * @property {number} count of the frame's data fragments
 * @property {number} captureUs gateway time
 * @property {number} pieceBytes of every data fragment but perhaps the last
 * @property {Uint8Array} data a view of the datagram
 */

export const TYPE_FRAGMENT = 0x10;
export const TYPE_PARITY = 0x11;
export const HEADER_BYTES = 28;
export const MAX_ROWS = 64;
export const MAX_PROTECTED = 192; // data fragments that parity can protect
const KEYFRAME = 0x01;
const DISCARDABLE = 0x02;
const MALFORMED = 0x10;
const U32 = 2 ** 32;

/** @param {string} what @returns {never} */
function refuse(what) {
  throw new WireError(MALFORMED, `a fragment ${what}`);
}

/** @param {Uint8Array} datagram @returns {Fragment} @throws {WireError} bytes that contradict themselves */
export function decodeFragment(datagram) {
  if (datagram.length <= HEADER_BYTES) refuse(`of ${datagram.length} bytes has nothing in it`);
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length);
  const type = view.getUint8(0);
  if (type !== TYPE_FRAGMENT && type !== TYPE_PARITY) refuse(`has type 0x${type.toString(16)}`);
  const flags = view.getUint8(1);
  const fragment = {
    parity: type === TYPE_PARITY, keyframe: (flags & KEYFRAME) !== 0, discardable: (flags & DISCARDABLE) !== 0,
    track: view.getUint8(2), rendition: view.getUint8(3), group: view.getUint32(4), index: view.getUint32(8),
    objectBytes: view.getUint32(12), number: view.getUint16(16), count: view.getUint16(18),
    captureUs: view.getUint32(20) * U32 + view.getUint32(24), pieceBytes: 0, data: datagram.subarray(HEADER_BYTES),
  };
  const { objectBytes, count } = fragment;
  if (objectBytes < FRAME_HEADER_BYTES || objectBytes > MAX_PAYLOAD_BYTES + FRAME_HEADER_BYTES) {
    refuse(`is of a frame object of ${objectBytes} bytes`);
  }
  fragment.pieceBytes = pieceBytes(fragment);
  if (Math.ceil(objectBytes / fragment.pieceBytes) !== count) {
    refuse(`of ${fragment.data.length} bytes is none of ${count} of a frame object of ${objectBytes}`);
  }
  return fragment;
}

/** How long all pieces but the last are, by this one. @param {Fragment} fragment @returns {number} */
function pieceBytes({ parity, number, count, objectBytes, data }) {
  if (parity) {
    if (number >= MAX_ROWS || count > MAX_PROTECTED) refuse(`is row ${number} of the parity of ${count} pieces`);
    return data.length;
  }
  if (number >= count) refuse(`is number ${number} of ${count}`);
  if (number < count - 1) return data.length;
  if (count === 1) return data.length === objectBytes ? objectBytes : refuse('alone is not the whole of its frame object');
  const each = (objectBytes - data.length) / (count - 1);
  if (!Number.isInteger(each) || each < data.length) refuse(`at the end has ${data.length} bytes, which cannot be`);
  return each;
}
