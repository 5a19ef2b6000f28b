import type { Message } from "../api/types";
import { duration } from "../format/time";
import { PATH_HELP } from "../format/words";

export interface Step {
  name: string;
  at_ms: number | null;
  detail: string;
  /** `next` is still to come. */
  kind: "done" | "active" | "next" | "good" | "stopped" | "bad";
}

/** The life of one record, in order, with what is still to come. */
export function timeline(message: Message): Step[] {
  const steps: Step[] = [{ name: "Accepted", at_ms: message.appended_ms, detail: `by the broker, as ${message.source}`, kind: "done" }];
  if (message.due_ms === undefined) {
    steps.push({ name: "Cancelled", at_ms: message.cancelled_ms ?? message.appended_ms, detail: "before its record was read: it will never come out", kind: "stopped" });
    return steps;
  }
  if (message.path) {
    const wait = duration(Math.max(0, message.due_ms - message.appended_ms));
    steps.push({ name: `Scheduled, ${message.path}`, at_ms: null, detail: `${PATH_HELP[message.path]}; ${wait} from acceptance to due`, kind: "done" });
  }
  if (message.claimed_ms !== undefined) {
    const by = message.claimed_by ? `by ${message.claimed_by}` : "by a publisher";
    steps.push({ name: "Claimed", at_ms: message.claimed_ms, detail: message.state === "publishing" ? `${by}: too late to cancel` : by, kind: message.state === "publishing" ? "active" : "done" });
  }
  steps.push(...ending(message, message.due_ms));
  return steps;
}

function ending(message: Message, due: number): Step[] {
  switch (message.state) {
    case "scheduled":
    case "publishing":
      return [{ name: "Due", at_ms: due, detail: `to ${message.output_topic ?? "its output topic"}`, kind: "next" }];
    case "published":
      return [
        { name: "Due", at_ms: due, detail: "", kind: "done" },
        { name: "Published", at_ms: message.published_ms ?? null, detail: published(message), kind: "good" },
      ];
    case "cancelled":
      return [{ name: "Cancelled", at_ms: message.cancelled_ms ?? null, detail: "it will never be published", kind: "stopped" }];
    case "dead":
      return [{ name: "Dead letter", at_ms: message.dead_ms ?? null, detail: message.reason ?? "without a reason", kind: "bad" }];
  }
}

function published(message: Message): string {
  const where = [message.output_topic, message.partition, message.offset].filter((part) => part !== undefined).join("/");
  return message.late_ms === undefined ? `as ${where}` : `as ${where}, ${duration(message.late_ms)} late`;
}
