/** Finds QR codes in pictures by zxing. This module and its WebAssembly are loaded on demand, from our own server. */

import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";
import wasmPath from "zxing-wasm/reader/zxing_reader.wasm";

prepareZXingModule({
  overrides: { locateFile: () => new URL(wasmPath, import.meta.url).href },
});

/** Returns the texts of the codes in a picture. "thorough" also turns, inverts and shrinks it: for a single picture. */
export async function decode(picture: ImageData | Blob, effort: "fast" | "thorough"): Promise<string[]> {
  const thorough = effort === "thorough";
  const found = await readBarcodes(picture, {
    formats: ["QRCode"],
    maxNumberOfSymbols: 1,
    tryHarder: thorough,
    tryRotate: true,
    tryInvert: thorough,
    tryDownscale: true,
  });
  return found.filter(({ isValid }) => isValid).map(({ text }) => text);
}
