// Makes presentation-vector.json anew with a running local system, whose verifier has to admit the presentation:
//
//   citycode up --data FOLDER      in one terminal, then with its admin token and a fresh person
//   CITYCODE_TOKEN=… ID_NUMBER=… node test/make-vector.mjs http://127.0.0.1:8080
//
// The key is thrown away; the vector holds public values only. The person's number is not in it.
import { randomUUID, webcrypto } from "node:crypto";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { load } from "./load.mjs";

const server = process.argv[2] ?? "http://127.0.0.1:8080";
const { present, tokenBytes } = await load("lib/proof.ts");
const { compress } = await load("lib/point.ts");
const { base64url } = await load("lib/bytes.ts");

async function post(path, body) {
  const answer = await fetch(server + path, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${process.env.CITYCODE_TOKEN}`,
      "Content-Type": "application/json",
      "Idempotency-Key": randomUUID(),
    },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

const pair = await webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
const { kty, crv, x, y } = await webcrypto.subtle.exportKey("jwk", pair.publicKey);
const publicKey = base64url(compress(new Uint8Array(await webcrypto.subtle.exportKey("raw", pair.publicKey))));

const person = { id_number: process.env.ID_NUMBER };
const issued = await post("/api/v1/issue", { ...person, kind: "live", channel: "app", device_key: { kty, crv, x, y } });
const time = Math.floor(Date.now() / 1000);
const sign = async (bytes) =>
  new Uint8Array(await webcrypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, bytes));
const presentation = await present(tokenBytes(issued.token), time, sign);

const verdict = await post("/api/v1/verify", { place: "sentinel", code: presentation });
if (verdict.decision !== "admit") throw new Error(`not admitted: ${JSON.stringify(verdict)}`);

const keys = await fetch(`${server}/api/v1/keys`).then((answer) => answer.json());

const note =
  "Made by the browser's code (services/pages/web/src/lib/proof.ts) with WebCrypto, and admitted by a running system. " +
  "time is in seconds since 1970; public_key is a compressed point of P-256 in Base64url; issuer_keys is the JWKS of the " +
  "issuer that signed the token.";
const vector = { note, token: issued.token, public_key: publicKey, time, presentation, issuer_keys: keys };
const file = join(dirname(fileURLToPath(import.meta.url)), "presentation-vector.json");
writeFileSync(file, `${JSON.stringify(vector, null, 2)}\n`);
process.stdout.write(`${verdict.decision} ${verdict.reason}\n`);
