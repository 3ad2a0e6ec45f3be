// Serves the previews with the built assets under their logical names and with the pages' own security headers,
// so that a violation of the policy shows up here: `npm run preview`, then http://127.0.0.1:8099/zh/my.html.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "dist");
const port = Number(process.env.PORT ?? 8099);

const policy = (camera) =>
  `default-src 'none'; script-src 'self'${camera ? " 'wasm-unsafe-eval'" : ""}; style-src 'self'; img-src 'self' blob:; ` +
  "connect-src 'self'; media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/** Returns [type, bytes] of a path, or nothing. Built files are found by logical and by hashed name. */
function content(path) {
  if (path.startsWith("/assets/")) {
    const name = path.slice("/assets/".length);
    const manifest = JSON.parse(readFileSync(join(dist, "manifest.json"), "utf8"));
    const entry = manifest[name] ?? Object.values(manifest).find(({ file }) => file === name);
    return entry && [entry.type, readFileSync(join(dist, entry.file))];
  }
  const file = normalize(join(here, path));
  return file.startsWith(here) && path.endsWith(".html") ? ["text/html; charset=utf-8", readFileSync(file)] : undefined;
}

createServer((request, response) => {
  const path = new URL(request.url ?? "/", "http://preview").pathname;
  response.setHeader("Content-Security-Policy", policy(path.includes("staff") || path.includes("gate")));
  response.setHeader("Cache-Control", "no-store");
  if (path === "/ping" || path.endsWith("/state")) {
    response.writeHead(204).end();
    return;
  }
  try {
    const found = content(path);
    if (!found) throw new Error(path);
    response.writeHead(200, { "Content-Type": found[0] }).end(found[1]);
  } catch {
    response.writeHead(404, { "Content-Type": "text/plain" }).end("not found\n");
  }
}).listen(port, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${port}/zh/my.html\n`));
