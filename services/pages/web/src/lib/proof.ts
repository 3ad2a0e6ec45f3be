/**
 * A phone's proof that it holds the key of a code, and the text that its QR shows.
 *
 *     proof        = COSE_Sign1, protected { 1: -9 }, no unprotected header, external data "citycode-proof-v1"
 *     payload      = [ SHA-256 of the token's bytes, time in seconds, null ]
 *     presentation = "CC1P:" base45( token's bytes, proof )
 *
 * The same format is read by `crates/token/src/proof.rs`.
 */

import { decodeBase45, encodeBase45 } from "./base45";
import { ascii, concat, type Bytes } from "./bytes";
import { array, asciiString, byteString, EMPTY_MAP, integer, map, NULL, tagged } from "./cbor";

const TOKEN_PREFIX = "CC1:";
const PRESENTATION_PREFIX = "CC1P:";
const EXTERNAL_DATA = ascii("citycode-proof-v1");
/** COSE_Sign1's tag. */
const SIGN1 = 18;
/** The label of an algorithm and ESP256: ECDSA with P-256 and SHA-256, fully specified (RFC 9864). */
const ALG = 1;
const ESP256 = -9;
const PROTECTED = byteString(map([integer(ALG), integer(ESP256)]));

/** Signs bytes and gives r and s, 32 bytes each. */
export type Sign = (bytes: Bytes) => Promise<Bytes>;

/** The bytes of a token's text; null if it is not one. */
export function tokenBytes(token: string): Bytes | null {
  return token.startsWith(TOKEN_PREFIX) ? decodeBase45(token.slice(TOKEN_PREFIX.length)) : null;
}

/** Makes the text to show: the token with a fresh proof. `seconds` is the time since 1970. */
export async function present(token: Bytes, seconds: number, sign: Sign): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", token));
  const payload = byteString(array(byteString(digest), integer(seconds), NULL));
  const signature = await sign(signedBytes(payload));
  const proof = tagged(SIGN1, array(PROTECTED, EMPTY_MAP, payload, byteString(signature)));
  return PRESENTATION_PREFIX + encodeBase45(concat(token, proof));
}

/** The Sig_structure (RFC 9052 §4.4). */
export function signedBytes(payload: Bytes): Bytes {
  return array(asciiString("Signature1"), PROTECTED, byteString(EXTERNAL_DATA), payload);
}
