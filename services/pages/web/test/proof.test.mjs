// The bytes of a proof, and the committed vector that a running verifier admitted.
import assert from "node:assert/strict";
import { createHash, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { load } from "./load.mjs";

const { present, tokenBytes, signedBytes } = await load("lib/proof.ts");
const { decodeBase45 } = await load("lib/base45.ts");
const { byteString } = await load("lib/cbor.ts");
const { compress, xCoordinate } = await load("lib/point.ts");
const { contains } = await load("lib/bytes.ts");
const vector = JSON.parse(readFileSync(new URL("./presentation-vector.json", import.meta.url), "utf8"));

const hex = (bytes) => Buffer.from(bytes).toString("hex");

/** What stands between the token and the signature, by the format's definition. */
function expectedPayload(token, time) {
  const digest = createHash("sha256").update(token).digest("hex");
  return `83` + `5820${digest}` + `1a${time.toString(16).padStart(8, "0")}` + `f6`;
}

/** y² = x³ − 3x + b has two roots; the first byte tells which. Node imports only whole points. */
function uncompress(point) {
  const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
  const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
  const power = (base, exponent) => {
    let result = 1n;
    for (let rest = exponent, square = base % p; rest > 0n; rest >>= 1n, square = (square * square) % p) {
      if (rest & 1n) result = (result * square) % p;
    }
    return result;
  };
  const x = BigInt(`0x${hex(point.subarray(1))}`);
  const root = power((((x * x * x - 3n * x + b) % p) + p) % p, (p + 1n) / 4n);
  const y = (root & 1n) === BigInt(point[0] & 1) ? root : p - root;
  return Buffer.from(`04${hex(point.subarray(1))}${y.toString(16).padStart(64, "0")}`, "hex");
}

test("the vector is the token followed by a proof that its key signed", async () => {
  const token = tokenBytes(vector.token);
  const scan = decodeBase45(vector.presentation.slice("CC1P:".length));
  assert.equal(hex(scan.subarray(0, token.length)), hex(token));
  const proof = Buffer.from(scan.subarray(token.length));
  const payload = expectedPayload(token, vector.time);
  assert.equal(hex(proof.subarray(0, -64)), `d28443a10128a05829${payload}5840`);

  const signed = Buffer.from(
    `846a${hex(Buffer.from("Signature1"))}43a1012851${hex(Buffer.from("citycode-proof-v1"))}5829${payload}`,
    "hex",
  );
  assert.equal(hex(signedBytes(byteString(Buffer.from(payload, "hex")))), hex(signed));
  const point = uncompress(Buffer.from(vector.public_key, "base64url"));
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const key = await webcrypto.subtle.importKey("raw", point, algorithm, false, ["verify"]);
  const verify = { name: "ECDSA", hash: "SHA-256" };
  assert.equal(await webcrypto.subtle.verify(verify, key, proof.subarray(-64), signed), true);
  assert.equal(hex(compress(point)), hex(Buffer.from(vector.public_key, "base64url")));
});

test("a presentation differs from the vector's only in its time and signature", async () => {
  const token = tokenBytes(vector.token);
  const text = await present(token, vector.time, async () => new Uint8Array(64).fill(7));
  const scan = decodeBase45(text.slice("CC1P:".length));
  const theirs = decodeBase45(vector.presentation.slice("CC1P:".length));
  assert.equal(hex(scan.subarray(0, -64)), hex(theirs.subarray(0, -64)));
  assert.equal(hex(scan.subarray(-64)), "07".repeat(64));
});

test("the token contains the x coordinate of its key and of no other", () => {
  const token = tokenBytes(vector.token);
  const compressed = Buffer.from(vector.public_key, "base64url");
  assert.equal(contains(token, xCoordinate(compressed)), true);
  compressed[32] ^= 1;
  assert.equal(contains(token, xCoordinate(compressed)), false);
});

test("a text that is not a token has no bytes", () => {
  for (const text of ["", "CC1", "CC1P:BB8", "cc1:BB8", "CC1:bb8", "CC1:0", "CC1:GGW"]) {
    assert.equal(tokenBytes(text), null, text);
  }
});
