/** Base45 (RFC 9285): the text of a code, which fits the alphanumeric mode of a QR symbol. */

import type { Bytes } from "./bytes";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/** Encodes two bytes as three characters, and a last single byte as two. */
export function encodeBase45(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 2) {
    const first = bytes[at] ?? 0;
    const second = bytes[at + 1];
    const value = second === undefined ? first : first * 256 + second;
    text += digit(value) + digit(Math.floor(value / 45));
    if (second !== undefined) {
      text += digit(Math.floor(value / 2025));
    }
  }
  return text;
}

/** Decodes strictly; null if the text is not Base45. */
export function decodeBase45(text: string): Bytes | null {
  if (text.length % 3 === 1) {
    return null;
  }
  const out: number[] = [];
  for (let at = 0; at < text.length; at += 3) {
    const group = text.slice(at, at + 3);
    const values = Array.from(group, (character) => ALPHABET.indexOf(character));
    const [low = 0, middle = 0, high = 0] = values;
    const value = low + middle * 45 + high * 2025;
    const limit = group.length === 3 ? 0xffff : 0xff;
    if (values.includes(-1) || value > limit) {
      return null;
    }
    if (group.length === 3) {
      out.push(value >> 8);
    }
    out.push(value & 0xff);
  }
  return Uint8Array.from(out);
}

function digit(value: number): string {
  return ALPHABET.charAt(value % 45);
}
