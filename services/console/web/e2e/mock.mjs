// A stand-in for delayq that implements docs/api.md with moving data, and serves dist/.
// node e2e/mock.mjs [port]; MOCK_TOKEN=… asks for a token, MOCK_EMPTY=1 begins with nothing.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { World } from "./mock-world.mjs";

const DIST = new URL("../dist/", import.meta.url);
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const ALLOWED = ["orders", "payments", "mails", "invoices"];
const STATUS = { cancelled: 200, rescheduled: 200, published: 409, too_late: 409, dead: 409, superseded: 409, unknown: 404 };

class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** `issuer`: its address; then whoever brings its token gets in, and the claim `groups` is the role. The mock checks no signatures. */
export async function startMock({ port = 0, token = null, empty = false, issuer = null } = {}) {
  const world = new World({ empty });
  world.access = { token, issuer, tokens: true, load_balancer: false };
  const connect = issuer ? `'self' ws: wss: ${issuer}` : "'self' ws: wss:";
  const server = createServer((request, response) => {
    answer(world, request).then(
      ({ status, type, body }) => response.writeHead(status, { "content-type": type, "content-security-policy": `default-src 'self'; connect-src ${connect}` }).end(body),
      (error) => {
        const { status = 500, code = "internal", message } = error;
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ error: { code, message } }));
      },
    );
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has("delayq") ? "delayq" : false) });
  server.on("upgrade", (request, socket, head) => {
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(/,\s*/);
    try {
      letIn(world, offered.find((part) => part.startsWith("token."))?.slice("token.".length));
    } catch ({ status }) {
      socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => live(world, ws));
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  world.start();
  const stop = () => {
    world.stop();
    sockets.clients.forEach((ws) => ws.terminate());
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, world, stop };
}

function live(world, ws) {
  const send = (frame) => ws.send(JSON.stringify(frame));
  const tell = (change) => send({ change });
  ws.on("message", (data) => {
    const { after } = JSON.parse(data.toString());
    const first = Number(world.history[0]?.position ?? 1);
    send({ hello: { position: String(world.position), now_ms: Date.now() } });
    if (after !== null && after !== undefined) {
      if (!(Number(after) >= first - 1)) send({ gap: { reason: "the position is more than 5 minutes old" } });
      else world.history.filter((change) => Number(change.position) > Number(after)).forEach(tell);
    }
    world.listeners.add(tell);
  });
  const pings = setInterval(() => send({ ping: Date.now() }), 15000);
  ws.on("close", () => {
    world.listeners.delete(tell);
    clearInterval(pings);
  });
}

/** As delayq: 401 without a good token, 403 without a role. */
function letIn({ access }, given) {
  if (!access.token && !access.issuer) return;
  if (access.load_balancer || (access.token && given === access.token)) return;
  if (!given) throw new Refusal(401, "unauthorized", "sign in with the issuer of console.oidc, and send its token");
  const claims = claimsOf(given);
  if (!access.issuer || claims?.iss !== access.issuer || claims.exp * 1000 < Date.now()) throw new Refusal(401, "unauthorized", "this token is not accepted: it has expired");
  if (!claims.groups.includes("ops")) throw new Refusal(403, "no-role", 'you are signed in, but have no role here: your claim "groups" would have to hold one of ops (operators); ask whoever gives roles at the issuer');
}

function claimsOf(token) {
  try {
    return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
  } catch {
    return null;
  }
}

/** As delayq, which asks the issuer itself. */
async function offer({ token, issuer, tokens, load_balancer }) {
  const about = issuer && (await fetch(`${issuer}/.well-known/openid-configuration`).then((found) => found.json()).catch(() => null));
  const ends = about ? { authorization_endpoint: about.authorization_endpoint, token_endpoint: about.token_endpoint, end_session_endpoint: about.end_session_endpoint } : { problem: `${issuer}/.well-known/openid-configuration: connection refused` };
  const oidc = issuer && { issuer, client_id: "delayq", scopes: ["openid"], token: "id_token", ...ends };
  return { asks: Boolean(token ?? issuer), tokens: tokens && token !== null, load_balancer, oidc };
}

async function answer(world, request) {
  const url = new URL(request.url, "http://mock");
  if (!url.pathname.startsWith("/v1/")) return file(url.pathname);
  if (url.pathname === "/v1/access") return { status: 200, type: "application/json", body: JSON.stringify(await offer(world.access)) };
  letIn(world, request.headers.authorization?.replace(/^Bearer /, ""));
  const body = await read(request);
  const { status = 200, ...rest } = api(world, request.method, url.pathname.slice(4).split("/").map(decodeURIComponent), url.searchParams, body);
  return { status, type: "application/json", body: JSON.stringify(rest.body) };
}

function api(world, method, [what, id, verb], query, body) {
  if (what === "overview") return { body: world.overview() };
  if (what === "upcoming") return { body: world.upcoming(Number(query.get("ahead_ms") ?? 3600000)) };
  if (what === "dead-letters") return letters(world, id, query, body);
  if (what !== "messages") throw new Refusal(404, "unknown", "no such request");
  if (!id) return method === "POST" ? send(world, body) : list(world, query);
  const message = world.messages.get(id);
  if (!verb) {
    if (!message) throw new Refusal(404, "unknown", "no record with that id is known");
    return { body: message };
  }
  if (!message) return { status: 404, body: { answer: "unknown" } };
  const result = verb === "cancel" ? cancel(world, message) : reschedule(world, message, body);
  return { status: STATUS[result.answer], body: result };
}

function list(world, query) {
  const is = (name, value) => !query.get(name) || query.get(name) === value;
  const from = Number(query.get("due_from_ms") ?? 0);
  const all = [...world.messages.values()].filter((m) => is("state", m.state) && is("target", m.output_topic) && is("priority", m.priority) && is("topic", m.topic) && m.due_ms >= from);
  all.sort((a, b) => a.due_ms - b.due_ms);
  const start = Number(query.get("after") ?? 0);
  const limit = Number(query.get("limit") ?? 100);
  return { body: { messages: all.slice(start, start + limit), next: start + limit < all.length ? String(start + limit) : null } };
}

function send(world, body) {
  if (!ALLOWED.includes(body.target)) throw new Refusal(400, "target-not-allowed", `"${body.target}" is not an allowed target; allowed: ${ALLOWED.join(", ")}; did you mean orders?`);
  const due_ms = body.deliver_at_ms ?? Date.now() + (body.delay_ms ?? 0);
  if (due_ms > Date.now() + 7 * 86400000) throw new Refusal(400, "due-too-far", "due in more than 7 d, the maximum (delays.max)");
  const priority = body.priority ?? "standard";
  const message = body.id ? world.add({ due_ms, id: body.id, target: body.target, priority }) : null;
  return { status: 201, body: { source: message?.source ?? "delayq.delayed/3/5120", due_ms, output_topic: `${body.target}.${priority}`, ...(body.id ? { id: body.id } : {}) } };
}

function cancel(world, message) {
  if (message.state === "scheduled") return { answer: "cancelled", message: world.put({ ...message, state: "cancelled", cancelled_ms: Date.now() }) };
  return { answer: message.state === "publishing" ? "too_late" : message.state, message };
}

function reschedule(world, message, body) {
  if (message.state !== "scheduled") return { answer: "too_late", message };
  return { answer: "rescheduled", message: world.put({ ...message, due_ms: body.deliver_at_ms ?? Date.now() + body.delay_ms }) };
}

function letters(world, verb, query, body) {
  if (verb === "redrive") {
    const results = body.at.map((at) => {
      const letter = world.letters.find((l) => l.at === at);
      if (letter?.reason.startsWith("batch-")) return { at, outcome: "refused", detail: "it holds no record" };
      return letter?.target === "ordres" ? { at, outcome: "refused", detail: "target-not-allowed: it would be refused again" } : { at, outcome: "sent" };
    });
    if (!body.dry_run) world.letters = world.letters.filter((l) => !results.some((r) => r.at === l.at && r.outcome === "sent"));
    return { body: { results } };
  }
  if (verb === "purge") {
    const before = world.letters.length;
    world.letters = world.letters.filter((l) => !body.at.includes(l.at));
    return { body: { purged: before - world.letters.length } };
  }
  const like = (glob, value) => !glob || new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`).test(value ?? "");
  return { body: { letters: world.letters.filter((l) => like(query.get("reason"), l.reason) && (like(query.get("target"), l.target) || like(query.get("target"), l.output_topic))), next: null } };
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return text ? JSON.parse(text) : {};
}

async function file(path) {
  const name = path === "/" ? "index.html" : path.slice(1);
  const url = new URL(name, DIST);
  if (!url.href.startsWith(DIST.href)) throw new Refusal(404, "unknown", "no such file");
  const body = await readFile(url).catch(() => { throw new Refusal(404, "unknown", "no such file; is dist/ built?"); });
  return { status: 200, type: TYPES[extname(name)] ?? "application/octet-stream", body };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock({ port: Number(process.argv[2] ?? 8080), token: process.env.MOCK_TOKEN ?? null, empty: process.env.MOCK_EMPTY === "1" });
  console.log(`mock of delayq: ${mock.url}`);
}
