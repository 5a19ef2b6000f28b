import { expect, it } from "vitest";
import { lanes, overtaken } from "./bypass";
import type { Publication } from "./reducer";

function p(priority: Publication["priority"], due_ms: number, published_ms: number): Publication {
  return { key: `${priority}${due_ms}`, priority, due_ms, published_ms, late_ms: published_ms - due_ms };
}

it("counts who was due before a high record and came out after it", () => {
  const list = [p("high", 100, 105), p("standard", 50, 200), p("low", 99, 101), p("low", 60, 300), p("standard", 150, 160), p("high", 10, 400)];
  expect(overtaken(list)).toBe(2);
  expect(overtaken([])).toBe(0);
});

it("sorts publications into slots, the last one now", () => {
  const [high, standard] = lanes([p("high", 990, 1001), p("high", 900, 950), p("standard", 0, 10)], 1050, 100, 3);
  expect(high?.slots).toEqual([0, 1, 1]);
  expect(high?.worst_late_ms).toBe(50);
  expect(standard?.total).toBe(0);
});
