/** Deterministic CBOR (RFC 8949 §4.2) in the few forms that a proof needs. */

import { ascii, concat, type Bytes } from "./bytes";

/** Major types. */
const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;

export const EMPTY_MAP: Bytes = head(MAP, 0);
export const NULL: Bytes = Uint8Array.of(0xf6);

/** An integer within ±2^53. */
export function integer(value: number): Bytes {
  return value < 0 ? head(NEGATIVE, -1 - value) : head(UNSIGNED, value);
}

export function byteString(bytes: Uint8Array): Bytes {
  return concat(head(BYTES, bytes.length), bytes);
}

/** A text of ASCII characters. */
export function asciiString(text: string): Bytes {
  return concat(head(TEXT, text.length), ascii(text));
}

export function array(...items: readonly Uint8Array[]): Bytes {
  return concat(head(ARRAY, items.length), ...items);
}

/** A map of entries that the caller gives in order. */
export function map(...entries: readonly (readonly [Uint8Array, Uint8Array])[]): Bytes {
  return concat(head(MAP, entries.length), ...entries.flat());
}

export function tagged(tag: number, item: Uint8Array): Bytes {
  return concat(head(TAG, tag), item);
}

/** The first byte of an item and its argument in the fewest bytes. */
function head(major: number, argument: number): Bytes {
  if (!Number.isSafeInteger(argument) || argument < 0) {
    throw new RangeError("not an integer of CBOR");
  }
  const first = major << 5;
  if (argument < 24) {
    return Uint8Array.of(first | argument);
  }
  const length = argument < 0x100 ? 1 : argument < 0x1_0000 ? 2 : argument < 0x1_0000_0000 ? 4 : 8;
  const out = new Uint8Array(1 + length);
  out[0] = first | (24 + Math.log2(length));
  let rest = argument;
  for (let at = length; at > 0; at--) {
    out[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return out;
}
