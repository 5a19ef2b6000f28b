import { ApiError, errorOf } from "./error";
import type {
  Accepted, AccessOffer, CancelResult, DeadLetterPage, Message, MessagePage, MessageQuery, NewDue, NewRecord, Overview,
  RedriveResult, RescheduleResult, Upcoming,
} from "./types";

type Query = Record<string, string | number | undefined>;

export interface ClientOptions {
  /** Where the API is, with a trailing slash. */
  base: string;
  token: () => string | null;
  /** Called on every 401, so that the sign-in box opens wherever it happened. */
  onUnauthorized: (hadToken: boolean) => void;
  /** Called when somebody is signed in, but may do nothing here: in the API's words. */
  onNoRole?: (message: string) => void;
}

/** The REST API of docs/api.md. Every method throws `ApiError` and nothing else, but for an aborted request. */
export class ApiClient {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** How one gets in. Nothing opens the sign-in box by this. */
  access(signal?: AbortSignal): Promise<AccessOffer> {
    return this.call("v1/access", {}, signal ? { signal } : {}, false, true);
  }

  messages(query: MessageQuery, signal?: AbortSignal): Promise<MessagePage> {
    return this.get("v1/messages", { ...query }, signal);
  }

  message(topic: string | undefined, id: string, signal?: AbortSignal): Promise<Message> {
    return this.get(`v1/messages/${encodeURIComponent(id)}`, { topic }, signal);
  }

  send(record: NewRecord): Promise<Accepted> {
    return this.post("v1/messages", {}, record);
  }

  /** `published`, `too_late`, `dead` and `unknown` are answers, not errors, though their status is not 200. */
  cancel(topic: string | undefined, id: string): Promise<CancelResult> {
    return this.post(`v1/messages/${encodeURIComponent(id)}/cancel`, { topic }, undefined, true);
  }

  reschedule(topic: string | undefined, id: string, due: NewDue): Promise<RescheduleResult> {
    return this.post(`v1/messages/${encodeURIComponent(id)}/reschedule`, { topic }, due, true);
  }

  overview(signal?: AbortSignal): Promise<Overview> {
    return this.get("v1/overview", {}, signal);
  }

  upcoming(aheadMs: number, signal?: AbortSignal): Promise<Upcoming> {
    return this.get("v1/upcoming", { ahead_ms: aheadMs }, signal);
  }

  deadLetters(query: { reason?: string; target?: string; limit?: number; after?: string }, signal?: AbortSignal): Promise<DeadLetterPage> {
    return this.get("v1/dead-letters", query, signal);
  }

  redrive(at: string[], dryRun: boolean): Promise<{ results: RedriveResult[] }> {
    return this.post("v1/dead-letters/redrive", {}, { at, dry_run: dryRun });
  }

  purge(at: string[]): Promise<{ purged: number }> {
    return this.post("v1/dead-letters/purge", {}, { at });
  }

  private get<T>(path: string, query: Query, signal?: AbortSignal): Promise<T> {
    return this.call<T>(path, query, signal ? { signal } : {}, false);
  }

  private post<T>(path: string, query: Query, body: unknown, answers = false): Promise<T> {
    const init: RequestInit = { method: "POST" };
    if (body !== undefined) init.body = JSON.stringify(body);
    return this.call<T>(path, query, init, answers);
  }

  private async call<T>(path: string, query: Query, init: RequestInit, answers: boolean, quiet = false): Promise<T> {
    const token = quiet ? null : this.options.token();
    const headers: Record<string, string> = { Accept: "application/json" };
    if (init.body !== undefined) headers["Content-Type"] = "application/json";
    if (token) headers["Authorization"] = `Bearer ${token}`;

    let response: Response;
    try {
      response = await fetch(this.options.base + path + search(query), { ...init, headers, credentials: "same-origin", cache: "no-store", redirect: "manual" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError(0, "no-answer", "delayq does not answer. Is it running, and is the network up?");
    }
    // The API never redirects: a load balancer does, to where one signs in.
    const status = response.type === "opaqueredirect" ? 401 : response.status;
    const body: unknown = await response.json().catch(() => null);
    if (response.ok || (answers && isAnswer(body))) return body as T;
    const error = errorOf(status, body);
    // A request that was under way with an older token says nothing of the present one.
    if (!quiet && token === this.options.token()) {
      if (status === 401) this.options.onUnauthorized(token !== null);
      if (error.code === "no-role") this.options.onNoRole?.(error.message);
    }
    throw error;
  }
}

function isAnswer(body: unknown): boolean {
  return typeof (body as { answer?: unknown } | null)?.answer === "string";
}

/** Parameters that are empty are left out: the API then does not filter by them. */
export function search(query: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") params.set(name, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}
