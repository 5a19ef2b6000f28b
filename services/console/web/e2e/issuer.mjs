// A tiny issuer of OpenID Connect that lets everybody in at once: for the end-to-end run, and to look at signing in by hand.
// node e2e/issuer.mjs [port] prints its address; then delayq with console.oidc.issuer=… client_id=delayq roles_claim=groups.
import { createHash, createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const CLIENT = "delayq";
const KID = "of-this-run";

/** `mood`, which may be changed: "well", "denies", "away" (the token endpoint), "slow". */
export async function startIssuer({ port = 0, groups = ["ops"] } = {}) {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const issuer = { mood: "well", groups, signIns: [], url: "", stop: () => undefined };
  const codes = new Map();
  const server = createServer((request, response) => {
    answer(issuer, { publicKey, privateKey, codes }, request).then(
      ({ status = 200, headers = {}, body }) => response.writeHead(status, { "content-type": "application/json", "access-control-allow-origin": "*", ...headers }).end(body === undefined ? "" : JSON.stringify(body)),
      (error) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  issuer.url = `http://127.0.0.1:${server.address().port}`;
  issuer.stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return issuer;
}

async function answer(issuer, { publicKey, privateKey, codes }, request) {
  const url = new URL(request.url, issuer.url);
  const query = Object.fromEntries(url.searchParams);
  switch (url.pathname) {
    case "/.well-known/openid-configuration":
      return { body: discovery(issuer.url) };
    case "/keys":
      return { body: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: KID, use: "sig", alg: "RS256" }] } };
    case "/authorize": {
      issuer.signIns.push(query);
      const back = new URL(query.redirect_uri);
      if (query.client_id !== CLIENT || query.response_type !== "code" || query.code_challenge_method !== "S256") return { status: 400, body: { error: "invalid_request" } };
      back.searchParams.set("state", query.state);
      if (issuer.mood === "denies") {
        back.searchParams.set("error", "access_denied");
        back.searchParams.set("error_description", "ann@example.com is not assigned to delayq");
      } else {
        const code = randomUUID();
        codes.set(code, query);
        back.searchParams.set("code", code);
      }
      return { status: 302, headers: { location: back.href } };
    }
    case "/token": {
      if (issuer.mood === "away") return { status: 503, body: { error: "temporarily_unavailable" } };
      const form = new URLSearchParams(await text(request));
      const begun = codes.get(form.get("code"));
      codes.delete(form.get("code"));
      const challenge = createHash("sha256").update(form.get("code_verifier") ?? "").digest("base64url");
      const fits = begun && begun.code_challenge === challenge && begun.redirect_uri === form.get("redirect_uri") && begun.client_id === form.get("client_id");
      if (!fits) return { status: 400, body: { error: "invalid_grant" } };
      return { body: { token_type: "Bearer", expires_in: 300, access_token: "opaque", id_token: idToken(issuer, privateKey, begun.nonce) } };
    }
    case "/logout":
      return { status: 302, headers: { location: query.post_logout_redirect_uri } };
    default:
      return { status: 404, body: { error: "not_found" } };
  }
}

function discovery(url) {
  return {
    issuer: url, authorization_endpoint: `${url}/authorize`, token_endpoint: `${url}/token`, jwks_uri: `${url}/keys`, end_session_endpoint: `${url}/logout`,
    response_types_supported: ["code"], subject_types_supported: ["public"], id_token_signing_alg_values_supported: ["RS256"],
  };
}

function idToken(issuer, key, nonce) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer.url, aud: CLIENT, sub: "u-17", email: "ann@example.com", groups: issuer.groups, nonce, iat: now, exp: now + 300 };
  const signed = [{ alg: "RS256", kid: KID, typ: "JWT" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${signed}.${createSign("RSA-SHA256").update(signed).sign(key, "base64url")}`;
}

async function text(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const issuer = await startIssuer({ port: Number(process.argv[2] ?? 9000) });
  console.log(`issuer: ${issuer.url}`);
}
