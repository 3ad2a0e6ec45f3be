/** Points of P-256 as bytes. */

import { concat, type Bytes } from "./bytes";

const COORDINATE_LENGTH = 32;

/** Compresses 0x04 x y to 33 bytes (SEC 1 §2.3.3): the parity of y and x. */
export function compress(point: Uint8Array): Bytes {
  if (point.length !== 1 + 2 * COORDINATE_LENGTH || point[0] !== 4) {
    throw new RangeError("not an uncompressed point");
  }
  const last = point[2 * COORDINATE_LENGTH] ?? 0;
  return concat(Uint8Array.of(2 + (last & 1)), point.subarray(1, 1 + COORDINATE_LENGTH));
}

/** The x coordinate of a compressed point; a token that is bound to the key contains it. */
export function xCoordinate(compressed: Uint8Array): Uint8Array {
  return compressed.subarray(1);
}
