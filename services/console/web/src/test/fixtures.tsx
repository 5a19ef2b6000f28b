import { render } from "@testing-library/react";
import type { ReactElement } from "react";
import { ApiClient } from "../api/client";
import type { Message } from "../api/types";
import { LiveStore } from "../live/store";
import { ConsoleContext } from "../session/console";

export function message(change: Partial<Message> = {}): Message {
  return {
    id: "order-4711", topic: "delayq.delayed", state: "scheduled", source: "delayq.delayed/3/17", appended_ms: 1_000_000, revision: 1,
    due_ms: 1_060_000, output_topic: "orders.standard", priority: "standard", path: "short", ...change,
  };
}

export interface Call {
  method: string;
  path: string;
  body: unknown;
  headers: Headers;
}

/** A `fetch` that answers from a function and keeps what it was asked. */
export function fakeFetch(answer: (call: Call) => { status?: number; body: unknown }): { fetch: typeof fetch; calls: Call[] } {
  const calls: Call[] = [];
  const fetch = async (input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(String(input));
    const call = { method: init.method ?? "GET", path: url.pathname + url.search, body: init.body ? JSON.parse(String(init.body)) : undefined, headers: new Headers(init.headers) };
    calls.push(call);
    const { status = 200, body } = answer(call);
    return new Response(typeof body === "string" ? body : JSON.stringify(body), { status });
  };
  return { fetch, calls };
}

export function client(options: { token?: string; onUnauthorized?: (had: boolean) => void } = {}): ApiClient {
  return new ApiClient({ base: "http://delayq.test/", token: () => options.token ?? null, onUnauthorized: options.onUnauthorized ?? (() => undefined) });
}

export function inConsole(element: ReactElement) {
  const store = new LiveStore();
  const said: string[] = [];
  const value = { client: client(), store, retryNow: () => undefined, announce: (text: string) => void said.push(text), session: 0 };
  return { store, said, ...render(<div id="root"><ConsoleContext value={value}>{element}</ConsoleContext></div>) };
}
