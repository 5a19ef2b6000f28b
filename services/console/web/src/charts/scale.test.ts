import { expect, it } from "vitest";
import { compact, niceTop } from "./scale";

it("ends an axis at a number whose half is whole, at or above the most", () => {
  expect([0, 1, 2, 3, 5, 7, 9, 11, 99, 101, 6555].map(niceTop)).toEqual([2, 2, 2, 4, 6, 8, 10, 20, 100, 200, 8000]);
});

it("writes its labels short", () => {
  expect([0, 500, 8000, 1_500_000].map(compact)).toEqual(["0", "500", "8K", "1.5M"]);
});
