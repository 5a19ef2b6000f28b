import { render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, it, vi } from "vitest";
import type { AccessOffer, OidcOffer } from "../api/types";
import { SignIn, type Asked } from "./sign-in";

const OIDC: OidcOffer = {
  issuer: "https://login.example.com/realm", client_id: "delayq", scopes: ["openid"], token: "id_token",
  authorization_endpoint: "https://login.example.com/authorize", token_endpoint: "https://login.example.com/token",
};

function show(offer: Partial<AccessOffer> | null, asked: Asked = {}) {
  const whole: AccessOffer = { asks: true, tokens: true, load_balancer: false, oidc: OIDC, ...offer };
  const load = vi.fn(() => (offer ? Promise.resolve(whole) : Promise.reject(new Error("no answer"))));
  const [onToken, leave] = [vi.fn(), vi.fn()];
  render(<SignIn asked={asked} load={load} redirectUri="https://console.example.com/" onToken={onToken} leave={leave} />);
  return { load, onToken, leave };
}

it("offers the issuer first, with the focus on it, and a token instead", async () => {
  const user = userEvent.setup();
  const { leave, onToken } = show({});
  const button = await screen.findByRole("button", { name: "Sign in" });
  expect(document.activeElement).toBe(button);
  expect(screen.getByText("login.example.com", { selector: "strong" })).toBeTruthy();
  await user.click(button);
  await vi.waitFor(() => expect(leave).toHaveBeenCalledOnce());
  expect(leave.mock.calls[0]?.[0]).toMatch(/^https:\/\/login\.example\.com\/authorize\?/);
  await user.click(screen.getByRole("button", { name: "Use a token instead" }));
  await user.type(screen.getByLabelText("Token"), "a-static-token{Enter}");
  expect(onToken).toHaveBeenCalledWith("a-static-token");
});

it("offers no token where there is none", async () => {
  show({ tokens: false });
  await screen.findByRole("button", { name: "Sign in" });
  expect(screen.queryByRole("button", { name: "Use a token instead" })).toBeNull();
});

it.each([["there is no issuer", { oidc: null }], ["nothing is known", null]])("asks for a token where %s", async (_, offer) => {
  show(offer, { refused: true });
  expect(await screen.findByLabelText("Token")).toBe(document.activeElement);
  expect(screen.getByText("That token was refused.")).toBeTruthy();
});

it("says when the issuer is away, and asks again", async () => {
  const user = userEvent.setup();
  const { problem: _, ...well } = OIDC;
  const { load } = show({ oidc: { ...OIDC, problem: "connection refused" } });
  const alert = await screen.findByRole("alert");
  expect(within(alert).getByText("login.example.com does not answer")).toBeTruthy();
  expect(alert.textContent).toContain("connection refused");
  load.mockResolvedValue({ asks: true, tokens: true, load_balancer: false, oidc: well });
  await user.click(screen.getByRole("button", { name: "Try again" }));
  await screen.findByRole("button", { name: "Sign in" });
});

it("says what went wrong, or which role is missing", async () => {
  show({}, { failed: "The issuer did not let you in." });
  expect((await screen.findByRole("alert")).textContent).toBe("The issuer did not let you in.");
  show({}, { noRole: 'your claim "groups" would have to hold ops' });
  const dialog = await screen.findByRole("dialog", { name: "No role" });
  expect(dialog.textContent).toContain('your claim "groups"');
  expect(await within(dialog).findByRole("button", { name: "Sign in as somebody else" })).toBeTruthy();
});

it("leaves it to a load balancer that signs people in", async () => {
  show({ load_balancer: true });
  await screen.findByRole("button", { name: "Load again" });
  expect(screen.queryByRole("button", { name: "Sign in" })).toBeNull();
});
