import { act, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { fakeFetch, inConsole, message } from "../test/fixtures";
import { LiveScreen } from "./live";

const due = () => Date.now() + 60_000;

function show(query: Record<string, string>, messages = [message({ due_ms: due() }), message({ id: "mail-1", priority: "high", due_ms: due() + 1 })]) {
  const fake = fakeFetch(() => ({ body: { messages, next: null } }));
  vi.stubGlobal("fetch", fake.fetch);
  return { ...fake, ...inConsole(<LiveScreen query={query} />) };
}

it("lists, and moves from row to row with the arrow keys", async () => {
  const user = userEvent.setup();
  show({});
  const first = await screen.findByRole("link", { name: "order-4711" });
  expect(first.getAttribute("href")).toBe("#/message/delayq.delayed/order-4711");
  first.focus();
  await user.keyboard("{ArrowDown}");
  expect(document.activeElement?.textContent).toBe("mail-1");
  await user.keyboard("{Home}");
  expect(document.activeElement).toBe(first);
});

it("highlights a live change, and moves what has ended", async () => {
  const { store } = show({});
  await screen.findByRole("link", { name: "order-4711" });
  act(() => store.dispatch({ type: "changes", now: Date.now(), changes: [{ position: "1", at_ms: 1, message: message({ revision: 2, state: "cancelled", cancelled_ms: Date.now() }) }] }));
  expect(await screen.findByText("Ended, latest first")).toBeTruthy();
  expect(screen.getByRole("row", { name: /order-4711/ }).className).toContain("flash");
});

it("filters what is shown, and asks the API for the same", async () => {
  const { calls } = show({ priority: "high" });
  await screen.findByRole("link", { name: "mail-1" });
  expect(screen.queryByRole("link", { name: "order-4711" })).toBeNull();
  expect(calls[0]?.path).toContain("priority=high");
  expect(calls[0]?.path).toContain("due_from_ms=");
});

it("says how to begin when there is nothing", async () => {
  show({}, []);
  expect(await screen.findByRole("link", { name: "Send a first record" })).toBeTruthy();
});

it("offers to look an id up that is not in the list", async () => {
  show({ text: "order-9" });
  const link = await screen.findByRole("link", { name: /Look up the id/ });
  expect(link.getAttribute("href")).toBe("#/message/delayq.delayed/order-9");
});

it("lists again after a gap", async () => {
  const { store, calls } = show({});
  await screen.findByRole("link", { name: "order-4711" });
  act(() => store.dispatch({ type: "gap", reason: "too long ago" }));
  expect(await screen.findByRole("link", { name: "order-4711" })).toBeTruthy();
  expect(calls).toHaveLength(2);
  expect(store.get().gap).toBeNull();
});
