// Base45 by the examples of RFC 9285, CBOR by those of RFC 8949 (appendix A), Base64url and points.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { encodeBase45, decodeBase45 } = await load("lib/base45.ts");
const cbor = await load("lib/cbor.ts");
const { base64url, contains } = await load("lib/bytes.ts");
const { compress } = await load("lib/point.ts");

const hex = (bytes) => Buffer.from(bytes).toString("hex");

test("Base45 encodes and decodes the examples of RFC 9285", () => {
  const examples = [["AB", "BB8"], ["Hello!!", "%69 VD92EX0"], ["base-45", "UJCLQE7W581"], ["ietf!", "QED8WEX0"]];
  for (const [plain, encoded] of examples) {
    assert.equal(encodeBase45(Buffer.from(plain)), encoded);
    assert.equal(Buffer.from(decodeBase45(encoded)).toString(), plain);
  }
  assert.equal(hex(decodeBase45("FGW")), "ffff");
  assert.equal(encodeBase45(new Uint8Array()), "");
});

test("Base45 refuses what encodes no bytes", () => {
  for (const text of ["0", "GGW", "V5", "a00", "0a0", "00a", "a0", "BB8B"]) {
    assert.equal(decodeBase45(text), null, text);
  }
});

test("every length and byte survives Base45", () => {
  for (let length = 0; length < 300; length++) {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 37 + length) % 256);
    assert.equal(hex(decodeBase45(encodeBase45(bytes))), hex(bytes));
  }
});

test("CBOR writes the examples of RFC 8949", () => {
  const integers = [[0, "00"], [23, "17"], [24, "1818"], [100, "1864"], [1000, "1903e8"], [65536, "1a00010000"],
    [1000000, "1a000f4240"], [4294967296, "1b0000000100000000"], [1000000000000, "1b000000e8d4a51000"], [-1, "20"],
    [-9, "28"], [-10, "29"], [-100, "3863"], [-1000, "3903e7"]];
  for (const [value, expected] of integers) {
    assert.equal(hex(cbor.integer(value)), expected, String(value));
  }
  assert.equal(hex(cbor.byteString(Uint8Array.of(1, 2, 3, 4))), "4401020304");
  assert.equal(hex(cbor.asciiString("IETF")), "6449455446");
  assert.equal(hex(cbor.array(cbor.integer(1), cbor.NULL)), "8201f6");
  assert.equal(hex(cbor.map([cbor.integer(1), cbor.integer(-9)])), "a10128");
  assert.equal(hex(cbor.tagged(18, cbor.EMPTY_MAP)), "d2a0");
  for (const value of [0.5, Number.NaN, 2 ** 53, -1.5]) {
    assert.throws(() => cbor.integer(value), RangeError);
  }
});

test("Base64url has no padding and no characters of plain Base64", () => {
  for (const bytes of [[], [0xfb], [0xfb, 0xff], [0xfb, 0xff, 0xfe]]) {
    assert.equal(base64url(Uint8Array.from(bytes)), Buffer.from(bytes).toString("base64url"));
  }
});

test("bytes are found at every place and not beyond the end", () => {
  const bytes = Uint8Array.of(1, 2, 3, 2, 3);
  assert.equal(contains(bytes, Uint8Array.of(1, 2)), true);
  assert.equal(contains(bytes, Uint8Array.of(3, 2, 3)), true);
  assert.equal(contains(bytes, Uint8Array.of(3, 3)), false);
  assert.equal(contains(bytes, Uint8Array.of(2, 3, 4)), false);
});

test("a point is compressed by the parity of its y", () => {
  const even = Uint8Array.of(4, ...Array(32).fill(9), ...Array(31).fill(1), 2);
  const odd = Uint8Array.of(4, ...Array(32).fill(9), ...Array(31).fill(1), 3);
  assert.equal(hex(compress(even)), `02${"09".repeat(32)}`);
  assert.equal(hex(compress(odd)), `03${"09".repeat(32)}`);
  assert.throws(() => compress(even.subarray(1)), RangeError);
});
