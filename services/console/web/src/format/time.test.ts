import { describe, expect, it } from "vitest";
import { duration, iso, parseDelay, parseLocalTime, relative, toLocalTime } from "./time";

describe("duration", () => {
  it.each([
    [0, "0 ms"], [412, "412 ms"], [999.4, "999 ms"], [1000, "1.0 s"], [9440, "9.4 s"], [9999, "9.9 s"], [48_900, "48 s"],
    [725_000, "12 min 05 s"], [3_599_999, "59 min 59 s"], [11_220_000, "3 h 07 min"], [187_200_000, "2 d 04 h"], [-5000, "5.0 s"],
  ])("%d ms is %s", (ms, text) => expect(duration(ms)).toBe(text));
});

describe("relative", () => {
  it.each([
    [1000, 1050, "now"], [1000, 0, "in 1.0 s"], [640, 0, "in 0.6 s"], [0, 12_000, "12 s ago"], [90_000, 0, "in 1 min 30 s"],
  ])("%d seen at %d is %s", (at, now, text) => expect(relative(at, now)).toBe(text));
});

describe("parseDelay", () => {
  it.each([
    ["90s", 90_000], ["1h 30m", 5_400_000], ["250 ms", 250], ["1.5h", 5_400_000], ["2d", 172_800_000], ["5min", 300_000], ["30", 30_000], ["0", 0], [" 1H ", 3_600_000],
  ])("reads %s", (text, ms) => expect(parseDelay(text)).toBe(ms));
  it.each(["", "soon", "-5s", "5x", "5s and more", "1e9s", "s"])("refuses %s", (text) => expect(parseDelay(text)).toBeNull());
});

describe("local time", () => {
  it("goes there and back", () => {
    const at = new Date(2026, 2, 9, 7, 5, 3).getTime();
    expect(toLocalTime(at)).toBe("2026-03-09T07:05:03");
    expect(parseLocalTime(toLocalTime(at))).toBe(at);
  });
  it("refuses what is none", () => {
    expect(parseLocalTime("")).toBeNull();
    expect(parseLocalTime("2026-03-09")).toBeNull();
    expect(parseLocalTime("2026-99-09T07:05")).toBeNull();
  });
});

it("writes a time that no calendar has as its number", () => {
  expect(iso(0)).toBe("1970-01-01T00:00:00.000Z");
  expect(iso(9e18)).toBe("9000000000000000000");
});
