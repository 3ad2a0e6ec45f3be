// Builds `dist/`: scripts and style sheets with a content hash in their names, and `manifest.json`.
//
//   node build.mjs           writes dist/
//   node build.mjs --check   builds into a temporary folder and compares it with dist/ byte by byte
//
// manifest.json maps a logical name to the file and its media type: { "app.js": { "file": "app-….js", "type": "…" } }.
// It lists every file, also the parts that other scripts load by themselves.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");

/** Scripts and style sheets that a page names. Each is one request: what they share is small and repeated. */
const WHOLE = [
  ...["app", "live-code", "kiosk", "scan", "charts"].map((name) => `src/${name}.ts`),
  ...["app", "kiosk", "staff", "gate", "sheet", "ops"].map((name) => `src/css/${name}.css`),
];
/** The camera loads its decoder by itself when it is needed, as a file of its own. */
const SPLIT = ["src/camera.ts"];
/** Packages whose code is in the scripts; their licences are delivered with it. */
const BUNDLED = ["htmx.org", "uplot", "uqr", "zxing-wasm"];
/** Files that are served as they are. */
const COPIED = ["src/icons/icons.svg", "src/icons/favicon.svg"];

const TYPES = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".txt": "text/plain; charset=utf-8",
};

/** Bundles entries; returns pairs of hashed name and bytes. */
async function bundle(entryPoints, splitting) {
  const result = await build({
    absWorkingDir: here,
    entryPoints,
    splitting,
    outdir: "dist",
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    bundle: true,
    format: "esm",
    minify: true,
    charset: "utf8",
    legalComments: "none",
    target: ["chrome87", "firefox91", "safari14"],
    // Safari 14 has it; esbuild excludes it because of a fault with unusual patterns, which are not used here.
    supported: { destructuring: true },
    loader: { ".wasm": "file" },
    write: false,
    logLevel: "warning",
  });
  return result.outputFiles.map(({ path, contents }) => [basename(path), Buffer.from(contents)]);
}

/** A file that is served as it is, under a name with its hash. */
function hashed(name, bytes) {
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 8).toUpperCase();
  return [name.replace(/(\.\w+)$/, `-${hash}$1`), bytes];
}

function copied(path) {
  return hashed(basename(path), readFileSync(join(here, path)));
}

/** The licences of the bundled packages, as their authors ask. The decoder contains zxing-cpp, too. */
function licences() {
  const texts = BUNDLED.map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
  });
  const decoder = "zxing_reader.wasm is built by zxing-wasm from zxing-cpp (https://github.com/zxing-cpp/zxing-cpp),\n" +
    "Copyright its authors, under the Apache License 2.0 (https://www.apache.org/licenses/LICENSE-2.0).\n";
  const text = [...texts, decoder].join(`\n${"-".repeat(80)}\n\n`).replace(/\r/g, "").replace(/[ \t]+$/gm, "");
  return hashed("licences.txt", Buffer.from(text));
}

/** Returns all files of `dist/` as a map from name to bytes. */
async function everything() {
  const bundles = [...(await bundle(WHOLE, false)), ...(await bundle(SPLIT, true))];
  return withManifest(new Map([...bundles, ...COPIED.map(copied), licences()]));
}

/** Adds the manifest; its order and text depend only on the files. */
function withManifest(files) {
  const manifest = {};
  for (const file of [...files.keys()].sort()) {
    const logical = file.replace(/-[A-Z0-9]{8}(\.\w+)$/, "$1");
    if (logical === file || manifest[logical]) throw new Error(`no unique logical name for ${file}`);
    const type = TYPES[extname(file)];
    if (!type) throw new Error(`no media type for ${file}`);
    manifest[logical] = { file, type };
  }
  files.set("manifest.json", Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`));
  return files;
}

function write(folder, files) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes);
}

/** Compares a fresh build with the committed one and names every difference. */
function compare(fresh) {
  const names = new Set([...readdirSync(fresh), ...readdirSync(dist)]);
  const read = (folder, name) => {
    try {
      return readFileSync(join(folder, name));
    } catch {
      return undefined;
    }
  };
  const different = [...names].sort().filter((name) => {
    const [a, b] = [read(fresh, name), read(dist, name)];
    return !a || !b || !a.equals(b);
  });
  if (different.length > 0) {
    throw new Error(`dist/ is not what the sources give; run "npm run build" and commit it: ${different.join(", ")}`);
  }
}

const files = await everything();
if (process.argv.includes("--check")) {
  const fresh = mkdtempSync(join(tmpdir(), "citycode-web-"));
  try {
    write(fresh, files);
    compare(fresh);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
} else {
  write(dist, files);
}
