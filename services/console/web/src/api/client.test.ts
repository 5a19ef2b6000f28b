import { describe, expect, it, vi } from "vitest";
import { client, fakeFetch, message } from "../test/fixtures";
import { ApiClient, search } from "./client";
import { ApiError, errorOf } from "./error";

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await promise.then(() => null, (e: unknown) => e);
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

describe("errors", () => {
  it("carry the code and words of the API", async () => {
    vi.stubGlobal("fetch", fakeFetch(() => ({ status: 400, body: { error: { code: "target-not-allowed", message: "did you mean orders?" } } })).fetch);
    expect(await failure(client().send({ target: "ordres", value: "" }))).toMatchObject({ status: 400, code: "target-not-allowed", message: "did you mean orders?", unavailable: false });
  });

  it("of a proxy are readable, too", async () => {
    vi.stubGlobal("fetch", fakeFetch(() => ({ status: 502, body: "<html>Bad Gateway</html>" })).fetch);
    expect(await failure(client().overview())).toMatchObject({ status: 502, code: "http-502" });
    expect(errorOf(503, null).unavailable).toBe(true);
    expect(errorOf(403, { error: "x" }).message).toMatch(/role/);
  });

  it("say when nothing answers", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    expect(await failure(client().overview())).toMatchObject({ status: 0, code: "no-answer", unavailable: true });
  });

  it("401 asks for a token, and says whether one was refused", async () => {
    vi.stubGlobal("fetch", fakeFetch(() => ({ status: 401, body: { error: { code: "unauthorized", message: "no" } } })).fetch);
    const asked = vi.fn();
    await failure(client({ onUnauthorized: asked }).overview());
    await failure(client({ onUnauthorized: asked, token: "t" }).overview());
    expect(asked.mock.calls).toEqual([[false], [true]]);
  });
});

describe("who it is", () => {
  it("is asked where a load balancer redirects to its sign-in, which no page can follow", async () => {
    const redirect = Object.defineProperty(new Response(null, { status: 200 }), "type", { value: "opaqueredirect" });
    Object.defineProperty(redirect, "ok", { value: false });
    const fetch = vi.fn().mockResolvedValue(redirect);
    vi.stubGlobal("fetch", fetch);
    const asked = vi.fn();
    expect(await failure(client({ onUnauthorized: asked }).overview())).toMatchObject({ status: 401 });
    expect(asked.mock.calls).toEqual([[false]]);
    expect(fetch.mock.calls[0]?.[1]).toMatchObject({ redirect: "manual" });
  });

  it("is known, but has no role: that is told in the API's words", async () => {
    vi.stubGlobal("fetch", fakeFetch(() => ({ status: 403, body: { error: { code: "no-role", message: 'your claim "groups"' } } })).fetch);
    const [asked, noRole] = [vi.fn(), vi.fn()];
    const made = new ApiClient({ base: "http://delayq.test/", token: () => "t", onUnauthorized: asked, onNoRole: noRole });
    await failure(made.overview());
    expect(noRole).toHaveBeenCalledWith('your claim "groups"');
    expect(asked).not.toHaveBeenCalled();
  });

  it("is not asked by the request for how to get in, which sends no token", async () => {
    const { fetch, calls } = fakeFetch(() => ({ status: 401, body: "" }));
    vi.stubGlobal("fetch", fetch);
    const asked = vi.fn();
    await failure(client({ onUnauthorized: asked, token: "t" }).access());
    expect(asked).not.toHaveBeenCalled();
    expect(calls[0]?.headers.get("authorization")).toBeNull();
  });
});

describe("requests", () => {
  it("send the token, and leave empty filters out", async () => {
    const { fetch, calls } = fakeFetch(() => ({ body: { messages: [], next: null } }));
    vi.stubGlobal("fetch", fetch);
    await client({ token: "s3cret" }).messages({ state: "", priority: "high", limit: 200 });
    expect(calls[0]?.path).toBe("/v1/messages?priority=high&limit=200");
    expect(calls[0]?.headers.get("authorization")).toBe("Bearer s3cret");
  });

  it("escape ids and topics", async () => {
    const { fetch, calls } = fakeFetch(() => ({ body: message() }));
    vi.stubGlobal("fetch", fetch);
    await client().message("a&b", "order/47 11?");
    expect(calls[0]?.path).toBe("/v1/messages/order%2F47%2011%3F?topic=a%26b");
  });

  it.each([[409, "too_late"], [409, "published"], [404, "unknown"]])("take %d with the answer %s for an answer", async (status, answer) => {
    vi.stubGlobal("fetch", fakeFetch(() => ({ status, body: { answer } })).fetch);
    expect(await client().cancel("t", "x")).toEqual({ answer });
  });

  it("take an error on cancel for an error", async () => {
    vi.stubGlobal("fetch", fakeFetch(() => ({ status: 503, body: { error: { code: "unavailable", message: "no Kafka" } } })).fetch);
    expect(await failure(client().cancel("t", "x"))).toMatchObject({ code: "unavailable", unavailable: true });
  });
});

it("writes no question mark without parameters", () => {
  expect(search({})).toBe("");
  expect(search({ a: undefined, b: 0 })).toBe("?b=0");
});
