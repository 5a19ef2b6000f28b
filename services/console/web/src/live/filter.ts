import type { Message } from "../api/types";
import { endedAt, isOpen } from "./reducer";

export interface Filter {
  state: string;
  priority: string;
  target: string;
  topic: string;
  text: string;
}

export const noFilter: Filter = { state: "", priority: "", target: "", topic: "", text: "" };

export function isFiltered(filter: Filter): boolean {
  return Object.values(filter).some((value) => value !== "");
}

export function matches(message: Message, filter: Filter): boolean {
  if (filter.state && message.state !== filter.state) return false;
  if (filter.priority && message.priority !== filter.priority) return false;
  if (filter.topic && message.topic !== filter.topic) return false;
  if (filter.target && !(message.output_topic ?? "").toLowerCase().includes(filter.target.toLowerCase())) return false;
  return !filter.text || message.id.toLowerCase().includes(filter.text.toLowerCase());
}

/** What is still to come, earliest first; then what has ended, latest first. */
export function arrange(messages: Iterable<Message>, filter: Filter): { open: Message[]; ended: Message[] } {
  const open: Message[] = [];
  const ended: Message[] = [];
  for (const message of messages) {
    if (matches(message, filter)) (isOpen(message) ? open : ended).push(message);
  }
  open.sort((a, b) => (a.due_ms ?? 0) - (b.due_ms ?? 0) || compare(a.id, b.id));
  ended.sort((a, b) => endedAt(b) - endedAt(a) || compare(a.id, b.id));
  return { open, ended };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
