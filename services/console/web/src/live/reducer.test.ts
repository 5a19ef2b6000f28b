import { describe, expect, it } from "vitest";
import type { LiveChange, Message } from "../api/types";
import { message } from "../test/fixtures";
import { initialLive, keyOf, MAX_MESSAGES, reduceLive, type LiveState } from "./reducer";

const NOW = 2_000_000;

function change(position: string, m: Message): LiveChange {
  return { position, at_ms: NOW, message: m };
}

function after(state: LiveState, ...changes: LiveChange[]): LiveState {
  return reduceLive(state, { type: "changes", changes, now: NOW });
}

function held(state: LiveState, m = message()): Message | undefined {
  return state.messages.get(keyOf(m));
}

describe("changes", () => {
  it("are applied, highlighted and remembered by position", () => {
    const state = after(initialLive, change("7", message({ revision: 2 })));
    expect(held(state)?.revision).toBe(2);
    expect(state.changed.get(keyOf(message()))).toBe(NOW);
    expect(state.position).toBe("7");
    expect(state.changes).toBe(1);
  });

  it("of an older or equal revision change nothing but the position", () => {
    const first = after(initialLive, change("7", message({ revision: 5, state: "published" })));
    const second = after(first, change("8", message({ revision: 5, state: "scheduled" })), change("9", message({ revision: 4, state: "scheduled" })));
    expect(held(second)?.state).toBe("published");
    expect(second.changes).toBe(1);
    expect(second.position).toBe("9");
  });

  it("keep records of one id in two delay topics apart", () => {
    const state = after(initialLive, change("1", message()), change("2", message({ topic: "other" })));
    expect(state.messages.size).toBe(2);
  });

  it("count a publication once, however often it is told", () => {
    const done = message({ revision: 3, state: "published", published_ms: 1_060_004, late_ms: 4 });
    const state = after(initialLive, change("1", done), change("2", done), change("3", { ...done, revision: 4 }));
    expect(state.publications).toEqual([{ key: keyOf(done), published_ms: 1_060_004, due_ms: 1_060_000, late_ms: 4, priority: "standard" }]);
  });

  it("leave the state that was, as it was", () => {
    after(initialLive, change("7", message()));
    expect(initialLive.messages.size).toBe(0);
  });
});

describe("a listing", () => {
  it("does not take back what came live meanwhile", () => {
    const live = after(initialLive, change("7", message({ revision: 5, state: "cancelled" })));
    const state = reduceLive(live, { type: "listed", messages: [message({ revision: 4 }), message({ id: "b" })] });
    expect(held(state)?.state).toBe("cancelled");
    expect(state.messages.size).toBe(2);
  });

  it("is not highlighted as a change", () => {
    const state = reduceLive(initialLive, { type: "listed", messages: [message()] });
    expect(state.changed.size).toBe(0);
  });
});

describe("a gap", () => {
  it("forgets what may be out of date, and asks for a new listing", () => {
    const live = after(initialLive, change("7", message()));
    const gap = reduceLive(live, { type: "gap", reason: "too long ago" });
    expect(gap.messages.size).toBe(0);
    expect(gap.position).toBeNull();
    expect(gap.listing).toBe(live.listing + 1);
    expect(gap.gap).toBe("too long ago");
    expect(reduceLive(gap, { type: "listed", messages: [] }).gap).toBeNull();
  });
});

describe("the connection", () => {
  it("takes the position of the first hello, and keeps its own on later ones", () => {
    const first = reduceLive(initialLive, { type: "hello", position: "5", serverNow: NOW + 250, now: NOW });
    expect(first.position).toBe("5");
    expect(first.clockOffsetMs).toBe(250);
    expect(first.listing).toBe(1);
    expect(first.connection.phase).toBe("connected");
    const back = reduceLive(first, { type: "hello", position: "99", serverNow: NOW, now: NOW });
    expect(back.position).toBe("5");
    expect(back.listing).toBe(1);
  });

  it("lists again on a hello after a gap, as what changed between the two is not told", () => {
    const gap = reduceLive(after(initialLive, change("7", message())), { type: "gap", reason: "too long ago" });
    const back = reduceLive(gap, { type: "hello", position: "9", serverNow: NOW, now: NOW });
    expect(back).toMatchObject({ position: "9", listing: gap.listing + 1 });
  });

  it("keeps the messages while it waits", () => {
    const live = after(initialLive, change("7", message()));
    const waiting = reduceLive(live, { type: "waiting", retryAt: NOW + 1000, attempt: 1, reason: "broke" });
    expect(waiting.messages.size).toBe(1);
    expect(waiting.connection).toEqual({ phase: "waiting", retryAt: NOW + 1000, attempt: 1, reason: "broke" });
  });
});

it("holds a bounded number, and forgets the oldest ended ones first", () => {
  const many = Array.from({ length: MAX_MESSAGES }, (_, i) => message({ id: `open-${i}`, due_ms: NOW + i }));
  const full = reduceLive(initialLive, { type: "listed", messages: many });
  const state = after(full, change("1", message({ id: "ended", state: "published", published_ms: NOW })), change("2", message({ id: "soon", due_ms: NOW })));
  expect(state.messages.size).toBe(MAX_MESSAGES);
  expect(held(state, message({ id: "ended" }))).toBeUndefined();
  expect(held(state, message({ id: "soon" }))).toBeDefined();
  expect(held(state, message({ id: `open-${MAX_MESSAGES - 1}` }))).toBeUndefined();
});
