/** Bytes and their texts. Every array rests on a plain buffer, as WebCrypto wants. */

export type Bytes = Uint8Array<ArrayBuffer>;

/** Joins parts to one array. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The bytes of an ASCII text. */
export function ascii(text: string): Bytes {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Base64url without padding (RFC 4648 §5). */
export function base64url(bytes: Uint8Array): string {
  const binary = String.fromCharCode(...bytes);
  return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** Whether `bytes` contains `part` anywhere. */
export function contains(bytes: Uint8Array, part: Uint8Array): boolean {
  for (let start = 0; start + part.length <= bytes.length; start++) {
    if (part.every((byte, index) => bytes[start + index] === byte)) {
      return true;
    }
  }
  return false;
}
