/** Finds QR codes in pictures by zxing. This module and its WebAssembly are loaded on demand, from our own server. */

import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";
import wasmPath from "zxing-wasm/reader/zxing_reader.wasm";

prepareZXingModule({
  overrides: { locateFile: () => new URL(wasmPath, import.meta.url).href },
});

/** Enough to know that a picture shows several codes. */
const MOST_SYMBOLS = 2;

/**
 * Returns the texts of the codes in a picture, each once. "thorough" also turns, inverts and shrinks it: for a single
 * picture.
 */
export async function decode(picture: ImageData | Blob, effort: "fast" | "thorough"): Promise<string[]> {
  const thorough = effort === "thorough";
  const found = await readBarcodes(picture, {
    formats: ["QRCode"],
    maxNumberOfSymbols: MOST_SYMBOLS,
    tryHarder: thorough,
    tryRotate: true,
    tryInvert: thorough,
    tryDownscale: true,
  });
  return [...new Set(found.filter(({ isValid }) => isValid).map(({ text }) => text))];
}
