import { expect, it } from "vitest";
import { href, messageHref, parseRoute } from "./route";

it("goes there and back with any id", () => {
  for (const id of ["order-4711", "a/b c?d#e", "100%", "ключ"]) {
    expect(parseRoute(messageHref("delayq.delayed", id))).toEqual({ screen: "message", topic: "delayq.delayed", id, query: {} });
  }
});

it("keeps filters in the address, without empty ones", () => {
  expect(href("live", { state: "dead", text: "" })).toBe("#/live?state=dead");
  expect(parseRoute("#/live?state=dead")).toEqual({ screen: "live", query: { state: "dead" } });
});

it("falls back to the live list", () => {
  for (const hash of ["", "#", "#/nothing", "#/message/only-topic"]) expect(parseRoute(hash).screen).toBe("live");
});

it("takes a broken escape as it is", () => {
  expect(parseRoute("#/message/t/50%")).toMatchObject({ id: "50%" });
});
