import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { message } from "../test/fixtures";
import { backoffMs } from "./backoff";
import { LiveLink } from "./connection";
import { LiveStore } from "./store";

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 0;
  sent: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly protocols: string[] | undefined;

  constructor(_url: string, protocols?: string[]) {
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  send(text: string) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  open() { this.readyState = 1; this.onopen?.(); }
  says(frame: unknown) { this.onmessage?.({ data: JSON.stringify(frame) }); }
  breaks(code = 1006, reason = "") { this.readyState = 3; this.onclose?.({ code, reason }); }
}

const last = () => FakeSocket.all.at(-1) as FakeSocket;

function link(options: { token?: string; verdict?: "ok" | "denied" | "down" } = {}) {
  const store = new LiveStore();
  const made = new LiveLink({
    url: "ws://delayq.test/v1/live", token: () => options.token ?? null, dispatch: store.dispatch,
    position: () => store.get().position, probe: () => Promise.resolve(options.verdict ?? "down"),
  });
  made.start();
  return { made, store };
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  FakeSocket.all = [];
});
afterEach(() => vi.useRealTimers());

it("subscribes, applies changes together, and resumes after the last one", async () => {
  const { store } = link();
  last().open();
  expect(last().sent).toEqual([{ subscribe: { topic: null, target: null, priority: null, state: null, id: null }, after: null }]);
  last().says({ hello: { position: "10", now_ms: Date.now() } });
  last().says({ change: { position: "11", at_ms: 0, message: message() } });
  last().says({ change: { position: "12", at_ms: 0, message: message({ revision: 2 }) } });
  expect(store.get().messages.size).toBe(0);
  await vi.advanceTimersByTimeAsync(200);
  expect(store.get().position).toBe("12");

  last().breaks();
  await vi.advanceTimersByTimeAsync(0);
  expect(store.get().connection).toMatchObject({ phase: "waiting", attempt: 1 });
  await vi.advanceTimersByTimeAsync(1000);
  last().open();
  expect(FakeSocket.all).toHaveLength(2);
  expect(last().sent).toMatchObject([{ after: "12" }]);
});

it("does not lose changes that came right before the break", async () => {
  const { store } = link();
  last().open();
  last().says({ change: { position: "11", at_ms: 0, message: message() } });
  last().breaks(4008);
  await vi.advanceTimersByTimeAsync(0);
  expect(store.get().position).toBe("11");
  expect(store.get().connection).toMatchObject({ reason: "this browser read too slowly" });
});

it("applies what was held before a gap before the gap", async () => {
  const { store } = link();
  last().open();
  last().says({ change: { position: "11", at_ms: 0, message: message() } });
  last().says({ gap: { reason: "too long ago" } });
  await vi.advanceTimersByTimeAsync(500);
  expect(store.get()).toMatchObject({ position: null, listing: 1 });
  expect(store.get().messages.size).toBe(0);
});

it("sends the token as a sub-protocol, and stops when it is refused", async () => {
  const { store, made } = link({ token: "s3cret", verdict: "denied" });
  expect(last().protocols).toEqual(["delayq", "token.s3cret"]);
  last().breaks();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(store.get().connection.phase).toBe("denied");
  expect(FakeSocket.all).toHaveLength(1);
  made.retryNow();
  expect(FakeSocket.all).toHaveLength(2);
});

it("takes silence for a broken connection", async () => {
  link();
  last().open();
  await vi.advanceTimersByTimeAsync(30_000);
  last().says({ ping: 5 });
  await vi.advanceTimersByTimeAsync(30_000);
  expect(last().readyState).toBe(1);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(last().readyState).toBe(3);
});

it("backs off to half a minute, never in step with others", () => {
  expect([1, 2, 3, 4, 5, 6, 20].map((n) => backoffMs(n, 0))).toEqual([1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  expect(backoffMs(1, 0.999)).toBeGreaterThan(660);
});

it("asks who it is when the sign-in has expired", async () => {
  const { store } = link({ token: "t", verdict: "denied" });
  last().open();
  last().breaks(4001, "the sign-in has expired: sign in again");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(store.get().connection).toMatchObject({ phase: "denied" });
  expect(FakeSocket.all).toHaveLength(1);
});
