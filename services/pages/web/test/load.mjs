// Loads a TypeScript module of `src/` for a test: bundled by esbuild in memory, imported as a data URL.
import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const src = join(dirname(fileURLToPath(import.meta.url)), "..", "src");

/** Imports `src/PATH`. */
export async function load(path) {
  const result = await build({ entryPoints: [join(src, path)], bundle: true, format: "esm", write: false });
  return import(`data:text/javascript;base64,${Buffer.from(result.outputFiles[0].contents).toString("base64")}`);
}
