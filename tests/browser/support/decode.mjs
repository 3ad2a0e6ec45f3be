/** Reads QR codes by two programs that share no code with the one that drew them: jsQR, and zxing-cpp as WebAssembly. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import jsQR from "jsqr";
import { PNG } from "pngjs";
import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";

const require = createRequire(import.meta.url);
const wasm = readFileSync(require.resolve("zxing-wasm/reader/zxing_reader.wasm"));
// Without this the package would load its WebAssembly from a public server.
prepareZXingModule({ overrides: { wasmBinary: wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.length) } });

/** The text of the only code in a PNG, as both readers found it. Throws if they do not agree. */
export async function decode(png) {
  const { data, width, height } = PNG.sync.read(png);
  const first = jsQR(new Uint8ClampedArray(data), width, height)?.data;
  const found = await readBarcodes(new Uint8Array(png), { formats: ["QRCode"], tryHarder: true });
  const second = found.map(({ text }) => text);
  if (!first || second.length !== 1 || second[0] !== first) {
    throw new Error(`the readers found ${JSON.stringify(first)} and ${JSON.stringify(second)}`);
  }
  return first;
}

/** The first page of a PDF as PNG, at the resolution of a poor printer. */
export async function rendered(pdf, dotsPerInch = 150) {
  const out = join(dirname(pdf), basename(pdf, ".pdf"));
  await promisify(execFile)("pdftoppm", ["-r", String(dotsPerInch), "-png", "-singlefile", pdf, out]);
  return readFileSync(`${out}.png`);
}
