import type { LiveChange, Message, Priority } from "../api/types";

/** What the console knows of tracked messages, as a pure function of what it was told. */

export type Connection =
  | { phase: "connecting" }
  | { phase: "connected" }
  | { phase: "waiting"; retryAt: number; attempt: number; reason: string }
  | { phase: "denied"; reason: string };

export interface Publication {
  key: string;
  published_ms: number;
  due_ms: number;
  late_ms: number;
  priority: Priority;
}

export interface LiveState {
  messages: ReadonlyMap<string, Message>;
  /** When the message last changed live, by the console's own clock: for the highlight. */
  changed: ReadonlyMap<string, number>;
  publications: readonly Publication[];
  connection: Connection;
  /** The last change seen; sent as `after` on a new connection. */
  position: string | null;
  /** Server time − own time. */
  clockOffsetMs: number;
  /** Rises whenever what is shown must be listed again. */
  listing: number;
  gap: string | null;
  changes: number;
}

export type LiveAction =
  | { type: "connecting" }
  | { type: "hello"; position: string; serverNow: number; now: number }
  | { type: "clock"; serverNow: number; now: number }
  | { type: "changes"; changes: readonly LiveChange[]; now: number }
  | { type: "listed"; messages: readonly Message[] }
  | { type: "gap"; reason: string }
  | { type: "waiting"; retryAt: number; attempt: number; reason: string }
  | { type: "denied"; reason: string };

/** Ended messages go first when more than this are held. */
export const MAX_MESSAGES = 3000;
export const MAX_PUBLICATIONS = 1200;
export const PUBLICATIONS_MS = 120_000;

export const initialLive: LiveState = {
  messages: new Map(),
  changed: new Map(),
  publications: [],
  connection: { phase: "connecting" },
  position: null,
  clockOffsetMs: 0,
  listing: 0,
  gap: null,
  changes: 0,
};

export function keyOf(message: { topic: string; id: string }): string {
  return `${message.topic}\n${message.id}`;
}

export function reduceLive(state: LiveState, action: LiveAction): LiveState {
  switch (action.type) {
    case "connecting":
      return { ...state, connection: { phase: "connecting" } };
    case "hello": {
      // With a position of our own, what comes next goes on from there: the server's is newer, and taking it would skip.
      const clockOffsetMs = action.serverNow - action.now;
      if (state.position !== null) return { ...state, connection: { phase: "connected" }, clockOffsetMs };
      // Without one, what changed before this hello is not told: what is shown is listed from here on.
      return { ...state, connection: { phase: "connected" }, clockOffsetMs, position: action.position, listing: state.listing + 1 };
    }
    case "clock":
      return { ...state, clockOffsetMs: action.serverNow - action.now };
    case "changes":
      return applyChanges(state, action.changes, action.now);
    case "listed":
      return applyListed(state, action.messages);
    case "gap":
      // What is held may be out of date, and what was forgotten meanwhile is never told: begin anew.
      return {
        ...state, messages: new Map(), changed: new Map(), connection: { phase: "connected" },
        position: null, listing: state.listing + 1, gap: action.reason,
      };
    case "waiting":
      return { ...state, connection: { phase: "waiting", retryAt: action.retryAt, attempt: action.attempt, reason: action.reason } };
    case "denied":
      return { ...state, connection: { phase: "denied", reason: action.reason } };
  }
}

function applyChanges(state: LiveState, changes: readonly LiveChange[], now: number): LiveState {
  const last = changes.at(-1);
  if (!last) return state;
  const messages = new Map(state.messages);
  const changed = new Map(state.changed);
  const published: Publication[] = [];
  let applied = 0;
  for (const { message } of changes) {
    if (!newer(messages, message)) continue;
    const key = keyOf(message);
    const before = messages.get(key);
    messages.set(key, message);
    changed.set(key, now);
    applied += 1;
    if (message.state === "published" && before?.published_ms !== message.published_ms) published.push(...publication(key, message));
  }
  trim(messages, changed);
  return {
    ...state,
    messages,
    changed,
    publications: published.length > 0 ? recent([...state.publications, ...published]) : state.publications,
    position: last.position,
    changes: state.changes + applied,
  };
}

function applyListed(state: LiveState, listed: readonly Message[]): LiveState {
  const messages = new Map(state.messages);
  const changed = new Map(state.changed);
  const published: Publication[] = [];
  for (const message of listed) {
    if (!newer(messages, message)) continue;
    const key = keyOf(message);
    if (message.published_ms !== messages.get(key)?.published_ms) published.push(...publication(key, message));
    messages.set(key, message);
  }
  trim(messages, changed);
  const publications = published.length > 0 ? recent([...state.publications, ...published]) : state.publications;
  return { ...state, messages, changed, publications, gap: null };
}

function newer(messages: ReadonlyMap<string, Message>, message: Message): boolean {
  const known = messages.get(keyOf(message));
  return !known || message.revision > known.revision;
}

function publication(key: string, message: Message): Publication[] {
  const { published_ms, due_ms, late_ms, priority } = message;
  if (published_ms === undefined || due_ms === undefined || priority === undefined) return [];
  return [{ key, published_ms, due_ms, late_ms: late_ms ?? published_ms - due_ms, priority }];
}

function recent(publications: Publication[]): Publication[] {
  publications.sort((a, b) => a.published_ms - b.published_ms);
  const newest = publications.at(-1)?.published_ms ?? 0;
  return publications.filter((p) => p.published_ms > newest - PUBLICATIONS_MS).slice(-MAX_PUBLICATIONS);
}

function trim(messages: Map<string, Message>, changed: Map<string, number>): void {
  if (messages.size <= MAX_MESSAGES) return;
  const order = [...messages.entries()].sort(([, a], [, b]) => weight(a) - weight(b));
  for (const [key] of order.slice(0, messages.size - MAX_MESSAGES)) {
    messages.delete(key);
    changed.delete(key);
  }
}

/** Lowest is forgotten first: ended ones, oldest first; then those due last. */
function weight(message: Message): number {
  return isOpen(message) ? 1e14 - (message.due_ms ?? 0) : endedAt(message);
}

export function isOpen(message: Message): boolean {
  return message.state === "scheduled" || message.state === "publishing";
}

export function endedAt(message: Message): number {
  return message.published_ms ?? message.cancelled_ms ?? message.dead_ms ?? message.due_ms ?? message.appended_ms;
}
