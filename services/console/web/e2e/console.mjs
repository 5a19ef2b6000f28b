// Drives every screen of the console in Chromium and writes screenshots.
// node e2e/console.mjs [base URL of a running delayq, or "mock"] [directory for the screenshots]
// CHROMIUM: its path. DELAYQ_TOKEN: if the API asks for one. DELAYQ_TARGET: an allowed target (orders).
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { startIssuer } from "./issuer.mjs";
import { startMock } from "./mock.mjs";

const [base = "mock", shots = join(tmpdir(), "delayq-console")] = process.argv.slice(2);
const TARGET = process.env.DELAYQ_TARGET ?? "orders";
mkdirSync(shots, { recursive: true });
const mock = base === "mock" ? await startMock() : null;
const url = mock ? mock.url : base.replace(/\/?$/, "/");
const executablePath = process.env.CHROMIUM ?? execFileSync("sh", ["-c", "command -v chromium || command -v chromium-browser"]).toString().trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const faults = [];
let step = "";

try {
  await wide();
  await phone();
  await dark();
  await signIn();
  if (mock) await empty();
  if (mock) await signOn();
  if (faults.length > 0) throw new Error(`the browser's console said:\n${faults.join("\n")}`);
  console.log(`all screens work at ${url}; screenshots in ${shots}`);
} catch (error) {
  console.error(`failed at: ${step}`);
  throw error;
} finally {
  await browser.close();
  mock?.stop();
}

async function wide() {
  const page = await open({ viewport: { width: 1280, height: 860 } });
  let cut = null;
  await page.routeWebSocket(/\/v1\/live$/, (socket) => {
    const server = socket.connectToServer();
    cut = () => { socket.close({ code: 4000, reason: "cut by the test" }); return server.close(); };
  });
  const id = `e2e-${Date.now().toString(36)}`;

  at("send: a refusal is shown in the API's words");
  await page.goto(`${url}#/send`);
  await page.getByLabel("Target", { exact: true }).fill("ordres");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("alert").getByText("target-not-allowed", { exact: true }).waitFor();
  await shot(page, "send-refused");

  at("send: a tracked record");
  await page.getByLabel("Target", { exact: true }).fill(TARGET);
  await page.getByLabel("Value").fill('{"from": "the end-to-end test"}');
  await page.getByLabel("Id", { exact: true }).fill(id);
  await page.getByLabel("Priority").selectOption("high");
  await page.getByLabel("Delay", { exact: true }).fill("2m");
  await page.getByRole("button", { name: "Add a header" }).click();
  await page.getByLabel("Header 1, name").fill("traceparent");
  await page.getByLabel("Header 1, value").fill("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("link", { name: `Follow ${id}` }).waitFor();
  await shot(page, "send-accepted");

  at("message: timeline, reschedule, cancel by keyboard");
  await page.getByRole("link", { name: `Follow ${id}` }).click();
  await page.getByText(/Scheduled, (short|long)/).waitFor();
  await shot(page, "message-scheduled");
  await page.getByRole("button", { name: "Reschedule…" }).click();
  await shot(page, "reschedule");
  await page.getByLabel("Delay", { exact: true }).fill("10m");
  await page.keyboard.press("Enter");
  await page.getByRole("main").getByText("Rescheduled.").waitFor();
  await page.getByText(/in (9|10) min/).first().waitFor();
  await page.getByRole("button", { name: "Cancel…" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("Enter");
  await page.locator("button:focus", { hasText: "Keep it" }).waitFor();
  await shot(page, "cancel");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("main").getByText("Cancelled. It will never be published.").waitFor();
  await shot(page, "message-cancelled");

  at("live: filters, live changes, publication");
  await page.getByRole("link", { name: "Live", exact: true }).click();
  await page.getByLabel("Id contains").fill(id);
  await page.getByRole("rowheader", { name: id }).waitFor();
  await page.getByRole("link", { name: "Clear", exact: true }).click();
  const soon = `${id}-soon`;
  await send(soon, 3000);
  await page.getByRole("rowheader", { name: soon }).waitFor();
  await shot(page, "live");
  await page.goto(`${url}#/live?text=${soon}`);
  await page.getByRole("row", { name: new RegExp(`${soon}.*published`) }).waitFor({ timeout: 20000 });
  await page.getByRole("link", { name: soon }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("Published", { exact: true }).first().waitFor();
  await shot(page, "message-published");

  at("overview");
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("img", { name: /^Due by/ }).or(page.getByText("Nothing is due")).waitFor();
  await page.waitForTimeout(mock ? 9000 : 1500);
  await shot(page, "overview");

  at("dead letters");
  await page.getByRole("link", { name: "Dead letters" }).click();
  await page.getByLabel("Select all").or(page.getByText("No dead letters", { exact: true })).waitFor();
  await shot(page, "dead-letters");
  if (mock) await letters(page);

  at("connection: it breaks and comes back");
  await page.goto(`${url}#/live`);
  await page.locator(".connection-connected").waitFor();
  await cut();
  await page.getByText(/Reconnecting/).waitFor();
  await shot(page, "reconnecting", false);
  await page.locator(".connection-connected").waitFor({ timeout: 20000 });
  await page.context().close();
}

async function letters(page) {
  await page.getByLabel("Select all").check();
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByText("would be sent").first().waitFor();
  await shot(page, "redrive", false);
  await page.getByRole("button", { name: /^Redrive \d/ }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByLabel(/^Select letter/).first().check();
  await page.getByRole("button", { name: "Purge…" }).click();
  await page.getByLabel("Type 1 to confirm").fill("1");
  await shot(page, "purge", false);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

async function phone() {
  const page = await open({ viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, reducedMotion: "reduce" });
  for (const screen of ["live", "overview", "send", "dead-letters"]) {
    at(`phone: ${screen}`);
    await visit(page, screen);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (overflow > 0) throw new Error(`${await widest(page)}: ${screen} is ${overflow} px wider than the phone`);
    await shot(page, `phone-${screen}`, false);
    if (screen === "overview") await shot(page, "phone-overview-whole");
  }
  at("phone: message");
  await visit(page, "live");
  const link = page.locator(".cell-id a").first();
  if (await link.count()) {
    await link.click();
    await page.getByText("Timeline").waitFor();
    await shot(page, "phone-message");
  }
  await page.context().close();
}

async function dark() {
  const page = await open({ viewport: { width: 1280, height: 860 }, colorScheme: "dark" });
  for (const screen of ["live", "overview", "send", "dead-letters"]) {
    at(`dark: ${screen}`);
    await visit(page, screen);
    if (mock && screen === "overview") await page.waitForTimeout(4000);
    await shot(page, `dark-${screen}`, screen === "overview");
  }
  at("theme: the toggle overrides the system");
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.locator('html[data-theme="light"]').waitFor();
  await page.context().close();
}

/** Whatever the server asks for: the API answers 401 to what has no token. */
async function signIn() {
  at("sign in: a 401 asks for a token, and the token is sent");
  const before = faults.length;
  const page = await open({ viewport: { width: 1000, height: 700 } }, false);
  await page.route("**/v1/**", (route) =>
    route.request().headers()["authorization"]
      ? route.continue()
      : route.fulfill({ status: 401, contentType: "application/json", body: '{"error": {"code": "unauthorized", "message": "no token"}}' }));
  await page.goto(url);
  await page.getByRole("dialog", { name: "Sign in" }).waitFor();
  await shot(page, "sign-in", false);
  faults.length = before; // Chromium reports the 401 itself.
  await page.getByLabel("Token").fill(process.env.DELAYQ_TOKEN ?? "e2e-token");
  await page.keyboard.press("Enter");
  await page.getByText(/to come, \d+ ended/).waitFor();
  await page.context().close();
}

/** Single sign-on, by an issuer that lets everybody in at once; and what is seen when it does not. */
async function signOn() {
  const before = faults.length;
  const issuer = await startIssuer();
  const console_ = await startMock({ token: "e2e-static-token", issuer: issuer.url });
  const dialog = (page, name = "Sign in") => page.getByRole("dialog", { name });

  at("sign-on: by keyboard, to the issuer and back to the same screen");
  const page = await open({ viewport: { width: 1000, height: 700 } }, false);
  await page.goto(`${console_.url}#/overview`);
  await page.locator("button:focus", { hasText: /^Sign in$/ }).waitFor();
  await shot(page, "sign-on", false);
  await page.keyboard.press("Shift+Tab");
  await page.locator("button:focus", { hasText: "Use a token instead" }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Sign out ann@example.com" }).waitFor();
  await page.locator(".connection-connected").waitFor();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  if (page.url() !== `${console_.url}#/overview`) throw new Error(`came back to ${page.url()}`);
  const asked = issuer.signIns.at(-1);
  if (!asked.code_challenge || !asked.nonce || asked.scope !== "openid") throw new Error(`asked ${JSON.stringify(asked)}`);
  await shot(page, "signed-on", false);
  await page.setViewportSize({ width: 360, height: 740 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (overflow > 0) throw new Error(`${await widest(page)}: ${overflow} px wider than the phone`);
  await shot(page, "phone-signed-on", false);
  await page.setViewportSize({ width: 1000, height: 700 });

  at("sign-on: an expired token asks again, in place");
  await page.evaluate(() => {
    const [head, body, signature] = sessionStorage.getItem("delayq.token").split(".");
    const claims = { ...JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/"))), exp: 1 };
    sessionStorage.setItem("delayq.token", [head, btoa(JSON.stringify(claims)).replaceAll("=", ""), signature].join("."));
  });
  await page.getByRole("link", { name: "Dead letters" }).click();
  await dialog(page).getByRole("button", { name: "Sign in again" }).waitFor();
  await shot(page, "sign-on-again", false);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Dead letters" }).waitFor();
  await page.locator(".connection-connected").waitFor();

  at("sign-on: signing out ends it at the issuer, too");
  const left = page.waitForRequest((request) => request.url().startsWith(`${issuer.url}/logout`));
  await page.getByRole("button", { name: /^Sign out/ }).click();
  await left;
  await dialog(page).getByRole("button", { name: "Sign in", exact: true }).waitFor();

  at("sign-on: refused at the issuer");
  issuer.mood = "denies";
  await page.keyboard.press("Enter");
  await dialog(page).getByText("ann@example.com is not assigned to delayq").waitFor();
  await shot(page, "sign-on-denied", false);
  issuer.mood = "away";
  await dialog(page).getByRole("button", { name: "Sign in", exact: true }).click();
  await dialog(page).getByText("temporarily_unavailable").waitFor();
  issuer.mood = "well";

  at("sign-on: an answer that was not asked for is not believed");
  await page.goto(`${console_.url}?code=stolen&state=guessed&error_description=Call+555`);
  await dialog(page).getByText("was not begun in this tab").waitFor();
  if (page.url().includes("stolen")) throw new Error(`the code stays in ${page.url()}`);

  at("sign-on: signed in without a role");
  issuer.groups = ["interns"];
  await dialog(page).getByRole("button", { name: "Sign in", exact: true }).click();
  await dialog(page, "No role").getByText('your claim "groups"').waitFor();
  await shot(page, "sign-on-no-role", false);
  issuer.groups = ["ops"];
  await dialog(page, "No role").getByRole("button", { name: "Sign in as somebody else" }).click();
  await page.locator(".connection-connected").waitFor();
  if (issuer.signIns.at(-1).prompt !== "login") throw new Error("the same person would have come back");
  await page.context().close();

  at("sign-on: a load balancer that signs in");
  const behind = await open({ viewport: { width: 1000, height: 700 } }, false);
  Object.assign(console_.world.access, { load_balancer: true });
  await behind.goto(console_.url);
  await behind.locator(".connection-connected").waitFor();
  if (await behind.getByRole("button", { name: /^Sign out/ }).count()) throw new Error("there is nothing to sign out of");
  await behind.context().close();
  Object.assign(console_.world.access, { load_balancer: false });

  at("sign-on: the issuer is away, and a token works");
  issuer.stop();
  const dark = await open({ viewport: { width: 1000, height: 700 }, colorScheme: "dark" }, false);
  await dark.goto(console_.url);
  await dialog(dark).getByText("does not answer", { exact: false }).first().waitFor();
  await shot(dark, "dark-sign-on-away", false);
  await dialog(dark).getByRole("button", { name: "Use a token instead" }).click();
  await dark.getByLabel("Token").fill("e2e-static-token");
  await dark.keyboard.press("Enter");
  await dark.locator(".connection-connected").waitFor();
  await dark.getByRole("button", { name: "Sign out", exact: true }).waitFor();
  await dark.context().close();
  console_.stop();
  faults.length = before; // Chromium reports each 401 and 403 itself.
}

async function empty() {
  at("empty: what to do first");
  const before = faults.length;
  const nothing = await startMock({ empty: true });
  const page = await open({ viewport: { width: 1280, height: 720 } });
  await page.goto(nothing.url);
  await page.getByRole("link", { name: "Send a first record" }).waitFor();
  await shot(page, "empty-live", false);
  await page.goto(`${nothing.url}#/overview`);
  await page.getByText("Nothing is due in the next hour.").waitFor();
  await shot(page, "empty-overview", false);
  await page.goto(`${nothing.url}#/dead-letters`);
  await page.getByText("No dead letters", { exact: true }).waitFor();
  nothing.stop();
  await page.getByText(/Reconnecting/).waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByText("delayq does not answer", { exact: false }).first().waitFor();
  await shot(page, "down", false);
  faults.length = before; // A server that is gone is what was tested.
  await page.context().close();
}

async function open(options, withToken = true) {
  const context = await browser.newContext(options);
  const token = process.env.DELAYQ_TOKEN;
  if (withToken && token) await context.addInitScript((t) => sessionStorage.setItem("delayq.token", t), token);
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => { if (line.type() === "error" && !/status of (400|404|409)/.test(line.text())) faults.push(line.text()); });
  return page;
}

/** What sticks out on the right. */
function widest(page) {
  return page.evaluate(() => [...document.querySelectorAll("main *, header *")].filter((e) => e.getBoundingClientRect().right > innerWidth && getComputedStyle(e).position !== "absolute").map((e) => `${e.tagName}.${e.className}`).slice(0, 5).join(", "));
}

async function visit(page, screen) {
  await page.goto(`${url}#/${screen}`);
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.locator(".connection-connected").waitFor();
  await page.waitForTimeout(700);
}

async function send(id, delay_ms) {
  const headers = { "content-type": "application/json" };
  if (process.env.DELAYQ_TOKEN) headers["authorization"] = `Bearer ${process.env.DELAYQ_TOKEN}`;
  const response = await fetch(`${url}v1/messages`, { method: "POST", headers, body: JSON.stringify({ target: TARGET, value: "{}", id, delay_ms }) });
  if (response.status !== 201) throw new Error(`POST /v1/messages: ${response.status} ${await response.text()}`);
}

function at(name) {
  step = name;
  console.log(name);
}

async function shot(page, name, fullPage = true) {
  await page.screenshot({ path: `${shots}/${name}.png`, fullPage });
}
