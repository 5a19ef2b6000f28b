import type { NewRecord, Priority } from "../api/types";
import { firstDue, readDue, type DueInput } from "../ui/due-field";

export interface Draft {
  target: string;
  value: string;
  key: string;
  id: string;
  priority: Priority;
  due: DueInput;
  headers: [string, string][];
  topic: string;
}

export const emptyDraft: Draft = { target: "", value: "", key: "", id: "", priority: "standard", due: firstDue, headers: [], topic: "" };

/** Null: something that must be there is not. All else is the API's to refuse, in its own words. */
export function recordOf(draft: Draft): NewRecord | null {
  const due = readDue(draft.due);
  const target = draft.target.trim();
  if (!due || !target) return null;
  const record: NewRecord = { target, value: draft.value, priority: draft.priority, ...due };
  if (draft.key) record.key = draft.key;
  if (draft.id.trim()) record.id = draft.id.trim();
  if (draft.topic.trim()) record.topic = draft.topic.trim();
  const headers = draft.headers.filter(([name]) => name.trim() !== "");
  if (headers.length > 0) record.headers = headers;
  return record;
}

export function freshId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return `console-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
