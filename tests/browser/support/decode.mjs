/** Reads QR codes by two programs that share no code with the one that drew them: jsQR, and zxing-cpp as WebAssembly. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import jsQR from "jsqr";
import { PNG } from "pngjs";
import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";
import { prepareZXingModule as prepareWriter, writeBarcode } from "zxing-wasm/writer";

const require = createRequire(import.meta.url);
// Without these the package would load its WebAssembly from a public server.
prepareZXingModule({ overrides: { wasmBinary: module("reader") } });
prepareWriter({ overrides: { wasmBinary: module("writer") } });

function module(name) {
  const wasm = readFileSync(require.resolve(`zxing-wasm/${name}/zxing_${name}.wasm`));
  return wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.length);
}

/** A PNG of a QR code that nobody here issued. */
export async function foreignCode(text) {
  const { image } = await writeBarcode(text, { format: "QRCode", scale: 6 });
  return Buffer.from(await image.arrayBuffer());
}

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

/** The corners of the only code in a PNG. */
export async function cornersOf(png) {
  const [{ position }] = await readBarcodes(new Uint8Array(png), { formats: ["QRCode"], tryHarder: true });
  return [position.topLeft, position.topRight, position.bottomRight, position.bottomLeft];
}

/** The first page of a PDF as PNG, at the resolution of a poor printer. */
export async function rendered(pdf, dotsPerInch = 150) {
  const out = join(dirname(pdf), basename(pdf, ".pdf"));
  await promisify(execFile)("pdftoppm", ["-r", String(dotsPerInch), "-png", "-singlefile", pdf, out]);
  return readFileSync(`${out}.png`);
}
