import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { OidcOffer } from "../api/types";
import { challengeOf, claimsOf } from "./pkce";
import { arrive, beginSignOn, nameOf, signOutUrl } from "./sign-on";

const HERE = "https://console.example.com/delayq/";
const OFFER: OidcOffer = {
  issuer: "https://login.example.com", client_id: "delayq", scopes: ["openid", "email"], token: "id_token",
  authorization_endpoint: "https://login.example.com/authorize?realm=a", token_endpoint: "https://login.example.com/token", end_session_endpoint: "https://login.example.com/logout",
};

function token(claims: object): string {
  const text = btoa(JSON.stringify(claims)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `e30.${text}.c2ln`;
}

/** Begins, and gives what the issuer was asked. */
async function begin(offer: OidcOffer = OFFER): Promise<URLSearchParams> {
  return new URL(await beginSignOn(offer, HERE, "#/overview")).searchParams;
}

let answer: (form: URLSearchParams) => { status?: number; body: unknown };
let forms: URLSearchParams[];

beforeEach(() => {
  forms = [];
  vi.stubGlobal("fetch", async (_url: string, init: RequestInit) => {
    const form = init.body as URLSearchParams;
    forms.push(form);
    const { status = 200, body } = answer(form);
    return new Response(JSON.stringify(body), { status });
  });
});
afterEach(() => window.sessionStorage.clear());

const why = async (search: string) => {
  const arrival = await arrive(search, HERE);
  return arrival.kind === "failed" ? arrival.why : arrival.kind;
};

describe("signing in", () => {
  it("goes to the issuer with a challenge, and comes back with its token to the same screen", async () => {
    const asked = await begin();
    expect(Object.fromEntries(asked)).toMatchObject({
      realm: "a", response_type: "code", client_id: "delayq", redirect_uri: HERE, scope: "openid email", code_challenge_method: "S256",
    });
    const given = token({ sub: "u", nonce: asked.get("nonce") });
    answer = () => ({ body: { id_token: given, access_token: "opaque" } });
    const arrival = await arrive(`?code=c-1&state=${asked.get("state")}`, HERE);
    expect(arrival).toEqual({ kind: "signed-in", token: given, hash: "#/overview" });
    const form = forms[0];
    expect(Object.fromEntries(form ?? [])).toMatchObject({ grant_type: "authorization_code", code: "c-1", redirect_uri: HERE, client_id: "delayq" });
    expect(await challengeOf(form?.get("code_verifier") ?? "")).toBe(asked.get("code_challenge"));
  });

  it("uses another state, nonce and verifier each time", async () => {
    const [one, other] = [await begin(), await begin()];
    for (const name of ["state", "nonce", "code_challenge"]) {
      expect(one.get(name)?.length).toBeGreaterThan(40);
      expect(one.get(name)).not.toBe(other.get(name));
    }
  });

  it("asks for the access token where the API has an audience of its own", async () => {
    const asked = await begin({ ...OFFER, token: "access_token" });
    answer = () => ({ body: { id_token: "a.b.c", access_token: "x.y.z" } });
    expect(await arrive(`?code=c&state=${asked.get("state")}`, HERE)).toMatchObject({ token: "x.y.z" });
  });

  it("asks who it is where the same person would come back", async () => {
    expect(new URL(await beginSignOn(OFFER, HERE, "", true)).searchParams.get("prompt")).toBe("login");
    expect((await begin()).get("prompt")).toBeNull();
  });

  it("does not begin where it cannot end", async () => {
    await expect(beginSignOn({ ...OFFER, token_endpoint: "" }, HERE, "")).rejects.toThrow(/does not say/);
    vi.stubGlobal("crypto", { getRandomValues: () => new Uint8Array(1) });
    await expect(beginSignOn(OFFER, HERE, "")).rejects.toThrow(/https/);
  });
});

describe("coming back", () => {
  it("is nothing without a code or an error", async () => {
    expect(await arrive("", HERE)).toEqual({ kind: "none" });
    expect(await arrive("?state=x", HERE)).toEqual({ kind: "none" });
  });

  it("is believed with the state of this tab only, and once", async () => {
    answer = () => ({ body: {} });
    expect(await why("?code=c&state=x")).toMatch(/not begun in this tab/);
    const asked = await begin();
    expect(await why("?code=c&state=x&error_description=Call+555")).toMatch(/not begun in this tab/);
    expect(await why(`?code=c&state=${asked.get("state")}`)).toMatch(/not begun in this tab/);
    expect(forms).toHaveLength(0);
    const again = await begin();
    expect(await why(`?code=c&state=${again.get("state")}&iss=https://evil.example`)).toMatch(/another issuer/);
  });

  it("says why the issuer let nobody in", async () => {
    const denied = await begin();
    expect(await why(`?error=access_denied&state=${denied.get("state")}`)).toBe("The issuer did not let you in.");
    const wrong = await begin();
    expect(await why(`?error=invalid_scope&error_description=no+email&state=${wrong.get("state")}`)).toMatch(/no email \(invalid_scope\)/);
    const code = await begin();
    answer = () => ({ status: 400, body: { error: "invalid_grant" } });
    expect(await why(`?code=c&state=${code.get("state")}`)).toMatch(/invalid_grant/);
  });

  it("says when the issuer does not answer, or gives no token", async () => {
    const html = await begin();
    answer = () => ({ body: "<html>" });
    expect(await why(`?code=c&state=${html.get("state")}`)).toMatch(/gave no id token/);
    const away = await begin();
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    expect(await why(`?code=c&state=${away.get("state")}`)).toMatch(/login\.example\.com does not answer.*https:\/\/console\.example\.com as an allowed origin/);
  });

  it("takes no token that answers another sign-in", async () => {
    const asked = await begin();
    answer = () => ({ body: { id_token: token({ sub: "u", nonce: "another" }) } });
    expect(await why(`?code=c&state=${asked.get("state")}`)).toMatch(/another sign-in/);
  });
});

describe("a token", () => {
  it("tells a name", () => {
    expect(nameOf(token({ sub: "u", email: "a@b.c", preferred_username: "a" }))).toBe("a@b.c");
    expect(nameOf(token({ sub: "u", preferred_username: "ann" }))).toBe("ann");
    expect(nameOf(token({ sub: "u" }))).toBe("u");
    for (const other of [null, "", "static-token", "a.b.c", "..", token([1])]) expect(nameOf(other)).toBeNull();
    expect(claimsOf("e30.bnVsbA.x")).toBeNull();
  });

  it("ends at the issuer where it has an end", () => {
    expect(signOutUrl(OFFER, HERE)).toBe(`https://login.example.com/logout?client_id=delayq&post_logout_redirect_uri=${encodeURIComponent(HERE)}`);
    const { end_session_endpoint: _, ...without } = OFFER;
    expect(signOutUrl(without, HERE)).toBeNull();
    expect(signOutUrl(null, HERE)).toBeNull();
  });
});
