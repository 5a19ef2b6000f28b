import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { fakeFetch, inConsole, message, type Call } from "../test/fixtures";
import { MessageScreen } from "./message";

const soon = () => message({ due_ms: Date.now() + 60_000, appended_ms: Date.now() });

function show(answer: (call: Call) => { status?: number; body: unknown } | undefined = () => undefined) {
  const m = soon();
  const fake = fakeFetch((call) => answer(call) ?? { body: m });
  vi.stubGlobal("fetch", fake.fetch);
  return { ...fake, ...inConsole(<MessageScreen topic={m.topic} id={m.id} />) };
}

it("cancels by keyboard: the dialog takes the focus, keeps it, and gives it back", async () => {
  const user = userEvent.setup();
  const cancelled = message({ state: "cancelled", revision: 2, cancelled_ms: Date.now() });
  const { calls } = show((call) => (call.path.includes("/cancel") ? { body: { answer: "cancelled", message: cancelled } } : undefined));

  const opener = await screen.findByRole("button", { name: "Cancel…" });
  opener.focus();
  await user.keyboard("{Enter}");
  const dialog = screen.getByRole("dialog", { name: "Cancel this record?" });
  expect(document.activeElement).toBe(within(dialog).getByRole("button", { name: "Keep it" }));
  expect(document.getElementById("root")?.hasAttribute("inert")).toBe(true);

  await user.tab();
  const confirm = within(dialog).getByRole("button", { name: "Cancel the record" });
  expect(document.activeElement).toBe(confirm);
  await user.tab();
  expect(dialog.contains(document.activeElement)).toBe(true);
  await user.tab({ shift: true });
  expect(document.activeElement).toBe(confirm);

  await user.keyboard("{Escape}");
  expect(screen.queryByRole("dialog")).toBeNull();
  expect(document.activeElement).toBe(opener);
  expect(calls.some((call) => call.method === "POST")).toBe(false);

  await user.keyboard("{Enter}{Tab}{Enter}");
  expect(await screen.findByText("Cancelled. It will never be published.")).toBeTruthy();
  expect(calls.find((call) => call.method === "POST")?.path).toBe("/v1/messages/order-4711/cancel?topic=delayq.delayed");
  expect(screen.getByRole<HTMLButtonElement>("button", { name: "Cancel…" }).disabled).toBe(true);
});

it("tells that a cancel came too late", async () => {
  const user = userEvent.setup();
  show((call) => (call.path.includes("/cancel") ? { status: 409, body: { answer: "too_late" } } : undefined));
  await user.click(await screen.findByRole("button", { name: "Cancel…" }));
  await user.click(screen.getByRole("button", { name: "Cancel the record" }));
  expect(await screen.findByText(/^Too late: it is being published now/)).toBeTruthy();
});

it("keeps the dialog open with the error when nothing is known of the cancel", async () => {
  const user = userEvent.setup();
  show((call) => (call.path.includes("/cancel") ? { status: 503, body: { error: { code: "unavailable", message: "DynamoDB does not answer" } } } : undefined));
  await user.click(await screen.findByRole("button", { name: "Cancel…" }));
  await user.click(screen.getByRole("button", { name: "Cancel the record" }));
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("DynamoDB does not answer");
  expect(alert.textContent).toContain("asking again is safe");
  expect(screen.getByRole("dialog")).toBeTruthy();
});

it("reschedules, and says what is wrong with a delay", async () => {
  const user = userEvent.setup();
  const { calls } = show((call) => (call.path.includes("/reschedule") ? { body: { answer: "rescheduled", message: { ...soon(), revision: 2 } } } : undefined));
  await user.click(await screen.findByRole("button", { name: "Reschedule…" }));
  const delay = screen.getByLabelText("Delay");
  expect(document.activeElement).toBe(delay);
  await user.clear(delay);
  await user.type(delay, "soon{Enter}");
  expect(delay.getAttribute("aria-invalid")).toBe("true");
  await user.clear(delay);
  await user.type(delay, "1h 30m{Enter}");
  expect(await screen.findByText("Rescheduled.")).toBeTruthy();
  expect(calls.find((call) => call.method === "POST")?.body).toEqual({ delay_ms: 5_400_000 });
});

it("follows live changes", async () => {
  const { store } = show();
  await screen.findByText("Scheduled, short");
  act(() => store.dispatch({ type: "changes", now: 1, changes: [{ position: "1", at_ms: 1, message: message({ revision: 9, state: "published", published_ms: 5, late_ms: 3 }) }] }));
  expect(screen.getByText("published, 3 ms late")).toBeTruthy();
});

it("says that a record may not have been read yet", async () => {
  show(() => ({ status: 404, body: { error: { code: "unknown", message: "no such record" } } }));
  await waitFor(() => expect(screen.getByText("Not known (yet)")).toBeTruthy());
});
