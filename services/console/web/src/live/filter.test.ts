import { expect, it } from "vitest";
import { message } from "../test/fixtures";
import { arrange, isFiltered, matches, noFilter } from "./filter";

const ids = (list: { id: string }[]) => list.map((m) => m.id);

it("puts what is to come first by due time, and what has ended last by its end", () => {
  const { open, ended } = arrange([
    message({ id: "later", due_ms: 30 }),
    message({ id: "old", state: "published", published_ms: 5 }),
    message({ id: "b", due_ms: 10 }),
    message({ id: "a", due_ms: 10, state: "publishing" }),
    message({ id: "new", state: "cancelled", due_ms: 99, cancelled_ms: 8 }),
    message({ id: "dead", state: "dead", dead_ms: 6 }),
  ], noFilter);
  expect(ids(open)).toEqual(["a", "b", "later"]);
  expect(ids(ended)).toEqual(["new", "dead", "old"]);
});

it("filters by every field, text without regard to case", () => {
  const m = message();
  expect(matches(m, noFilter)).toBe(true);
  expect(matches(m, { ...noFilter, text: "ORDER-47" })).toBe(true);
  expect(matches(m, { ...noFilter, text: "payment" })).toBe(false);
  expect(matches(m, { ...noFilter, state: "dead" })).toBe(false);
  expect(matches(m, { ...noFilter, priority: "high" })).toBe(false);
  expect(matches(m, { ...noFilter, target: "orders" })).toBe(true);
  expect(matches(m, { ...noFilter, target: "mails" })).toBe(false);
  expect(matches(m, { ...noFilter, topic: "other" })).toBe(false);
});

it("passes a cancel that came before its record, which has neither target nor priority", () => {
  const bare = { id: "x", topic: "t", state: "cancelled" as const, source: "t/0/1", appended_ms: 1, revision: 1 };
  expect(matches(bare, noFilter)).toBe(true);
  expect(matches(bare, { ...noFilter, priority: "high" })).toBe(false);
});

it("knows whether anything is filtered", () => {
  expect(isFiltered(noFilter)).toBe(false);
  expect(isFiltered({ ...noFilter, text: "a" })).toBe(true);
});
