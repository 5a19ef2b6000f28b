import { expect, it } from "vitest";
import { message } from "../test/fixtures";
import { timeline } from "./timeline";

const names = (m: Parameters<typeof timeline>[0]) => timeline(m).map((step) => `${step.name}: ${step.kind}`);

it("shows a published record with its lateness", () => {
  const m = message({ state: "published", claimed_ms: 1_059_700, published_ms: 1_060_012, partition: 2, offset: 99, late_ms: 12 });
  expect(names(m)).toEqual(["Accepted: done", "Scheduled, short: done", "Claimed: done", "Due: done", "Published: good"]);
  expect(timeline(m).at(-1)?.detail).toBe("as orders.standard/2/99, 12 ms late");
});

it("shows what is still to come", () => {
  expect(names(message())).toEqual(["Accepted: done", "Scheduled, short: done", "Due: next"]);
  expect(names(message({ state: "publishing", claimed_ms: 1 })).slice(2)).toEqual(["Claimed: active", "Due: next"]);
});

it("shows the other ends", () => {
  expect(names(message({ state: "cancelled", cancelled_ms: 5 })).at(-1)).toBe("Cancelled: stopped");
  expect(timeline(message({ state: "dead", dead_ms: 5, reason: "publish-failed" })).at(-1)?.detail).toBe("publish-failed");
});

it("shows a cancel that came before its record", () => {
  const bare = { id: "x", topic: "t", state: "cancelled" as const, source: "t/0/1", appended_ms: 1, revision: 1, cancelled_ms: 2 };
  expect(names(bare)).toEqual(["Accepted: done", "Cancelled: stopped"]);
});
