/**
 * The process of an OpenID Connect provider: the npm package oidc-provider with three accounts and a form to choose one
 * of them. It tells its parent when it listens, and takes the offset of its clock from it.
 */
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";
import { ACCOUNTS, CLIENT_ID } from "./provider.mjs";

const returnAddress = process.argv[2];
const wallClock = Date.now;
process.on("message", ({ clockBehindSeconds }) => {
  Date.now = () => wallClock() - clockBehindSeconds * 1000;
  process.send({ clockBehindSeconds });
});

/** The page at which people sign in. */
const FORM = `<!doctype html><title>Provider</title><form method="post">
<label>Account <input name="account"></label><button name="answer" value="yes">Confirm</button><button name="answer" value="no">Refuse</button></form>`;

const server = createServer((request, response) => {
  const handler = request.url.startsWith("/interaction/") ? interact : provider.callback();
  Promise.resolve(handler(request, response)).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
// The pages are at 127.0.0.1, so for the browser this is another site.
const issuer = `http://localhost:${server.address().port}`;
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

const provider = new Provider(issuer, {
  clients: [{
    client_id: CLIENT_ID,
    token_endpoint_auth_method: "none",
    redirect_uris: [returnAddress],
    response_types: ["code"],
    grant_types: ["authorization_code"],
    id_token_signed_response_alg: "ES256",
  }],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), alg: "ES256", use: "sig", kid: "test" }] },
  cookies: { keys: ["a provider of tests"] },
  claims: { openid: ["sub"], profile: ["name", "id_number", "roles"] },
  // The claims are in the ID token itself, as the pages need them.
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  ttl: { IdToken: 60, AuthorizationCode: 600, Interaction: 3600, Session: 3600, Grant: 3600 },
  findAccount: (_, id) => ACCOUNTS[id] && { accountId: id, claims: () => ({ sub: id, ...ACCOUNTS[id] }) },
  // Nobody is asked for consent a second time.
  async loadExistingGrant({ oidc }) {
    const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope("openid profile");
    await grant.save();
    return grant;
  },
});

async function interact(request, response) {
  if (request.method !== "POST") {
    response.setHeader("Content-Type", "text/html");
    response.end(FORM);
    return;
  }
  let body = "";
  for await (const part of request) body += part;
  const form = new URLSearchParams(body);
  const result = form.get("answer") === "yes" ? { login: { accountId: form.get("account") } } : { error: "access_denied" };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

process.send({ issuer });
