import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { fakeFetch, inConsole } from "../test/fixtures";
import { SendScreen } from "./send";

it("sends what was typed, and links to a tracked record", async () => {
  const user = userEvent.setup();
  const { fetch, calls } = fakeFetch(() => ({ status: 201, body: { source: "delayq.delayed/3/17", due_ms: Date.now() + 90_000, output_topic: "orders.high", id: "order-1" } }));
  vi.stubGlobal("fetch", fetch);
  inConsole(<SendScreen />);
  await user.type(screen.getByLabelText("Target"), "orders");
  await user.type(screen.getByLabelText("Value"), "hello");
  await user.type(screen.getByLabelText("Id"), "order-1");
  await user.selectOptions(screen.getByLabelText("Priority"), "high");
  await user.clear(screen.getByLabelText("Delay"));
  await user.type(screen.getByLabelText("Delay"), "90s");
  await user.click(screen.getByRole("button", { name: "Add a header" }));
  await user.type(screen.getByLabelText("Header 1, name"), "kind");
  await user.type(screen.getByLabelText("Header 1, value"), "timeout");
  await user.click(screen.getByRole("button", { name: "Send" }));
  const link = await screen.findByRole("link", { name: "Follow order-1" });
  expect(link.getAttribute("href")).toBe("#/message/delayq.delayed/order-1");
  expect(calls[0]).toMatchObject({ method: "POST", path: "/v1/messages", body: { target: "orders", value: "hello", id: "order-1", priority: "high", delay_ms: 90_000, headers: [["kind", "timeout"]] } });
});

it("shows a refusal in the API's words", async () => {
  const user = userEvent.setup();
  vi.stubGlobal("fetch", fakeFetch(() => ({ status: 400, body: { error: { code: "target-not-allowed", message: '"ordres" is not an allowed target; did you mean orders?' } } })).fetch);
  inConsole(<SendScreen />);
  await user.type(screen.getByLabelText("Target"), "ordres{Enter}");
  expect((await screen.findByRole("alert")).textContent).toContain("did you mean orders?");
});

it("asks for a target before it asks the API", async () => {
  const user = userEvent.setup();
  const { fetch, calls } = fakeFetch(() => ({ body: {} }));
  vi.stubGlobal("fetch", fetch);
  inConsole(<SendScreen />);
  await user.click(screen.getByRole("button", { name: "Send" }));
  expect(screen.getByText("Name the topic that the record is for.")).toBeTruthy();
  expect(calls).toHaveLength(0);
});
