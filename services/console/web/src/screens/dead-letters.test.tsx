import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import { fakeFetch, inConsole } from "../test/fixtures";
import { DeadLettersScreen } from "./dead-letters";

const letters = ["0/17", "0/18"].map((at) => ({ at, written_ms: 1, reason: "publish-failed", detail: "no such topic", source: "t/0/1" }));

function show() {
  const fake = fakeFetch(({ path, body }) => {
    if (path.endsWith("/redrive")) {
      const { at } = body as { at: string[] };
      return { body: { results: at.map((one) => (one === "0/18" ? { at: one, outcome: "refused", detail: "again" } : { at: one, outcome: "sent" })) } };
    }
    if (path.endsWith("/purge")) return { body: { purged: 1 } };
    return { body: { letters, next: null } };
  });
  vi.stubGlobal("fetch", fake.fetch);
  return { ...fake, ...inConsole(<DeadLettersScreen />) };
}

it("redrives after a dry run, and only what would be sent", async () => {
  const user = userEvent.setup();
  const { calls, said } = show();
  await user.click(await screen.findByLabelText("Select all"));
  await user.click(screen.getByRole("button", { name: "Redrive…" }));
  const dialog = screen.getByRole("dialog", { name: "Redrive 2 letters" });
  await user.click(await within(dialog).findByRole("button", { name: "Redrive 1" }));
  await vi.waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  const posts = calls.filter((call) => call.method === "POST").map((call) => call.body);
  expect(posts).toEqual([{ at: ["0/17", "0/18"], dry_run: true }, { at: ["0/17"], dry_run: false }]);
  expect(said).toEqual(["1 sent to the delay topic."]);
});

it("purges only after the number was typed", async () => {
  const user = userEvent.setup();
  const { calls } = show();
  await user.click(await screen.findByLabelText(/^Select letter 0\/17/));
  await user.click(screen.getByRole("button", { name: "Purge…" }));
  const dialog = screen.getByRole("dialog");
  expect(within(dialog).getByRole<HTMLButtonElement>("button", { name: "Purge" }).disabled).toBe(true);
  await user.keyboard("1{Enter}");
  await vi.waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(calls.find((call) => call.method === "POST")?.body).toEqual({ at: ["0/17"] });
});
