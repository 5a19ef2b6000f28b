import { PRIORITIES, type Priority } from "../api/types";
import type { Publication } from "./reducer";

export interface Lane {
  priority: Priority;
  /** Publications a slot, oldest first. */
  slots: number[];
  total: number;
  worst_late_ms: number;
}

/** Publications by priority over the last `slots × slotMs`, the last slot holding `now`. */
export function lanes(publications: readonly Publication[], now: number, slotMs: number, slots: number): Lane[] {
  const end = Math.floor(now / slotMs) + 1;
  const result = PRIORITIES.map((priority): Lane => ({ priority, slots: new Array<number>(slots).fill(0), total: 0, worst_late_ms: 0 }));
  for (const p of publications) {
    const slot = Math.floor(p.published_ms / slotMs) - (end - slots);
    const lane = result.find((l) => l.priority === p.priority);
    if (!lane || slot < 0 || slot >= slots) continue;
    lane.slots[slot] = (lane.slots[slot] ?? 0) + 1;
    lane.total += 1;
    lane.worst_late_ms = Math.max(lane.worst_late_ms, p.late_ms);
  }
  return result;
}

/** How many standard and low records a high one overtook: due before it, published after it. */
export function overtaken(publications: readonly Publication[]): number {
  const high = publications.filter((p) => p.priority === "high");
  return publications.filter((x) => x.priority !== "high" && high.some((h) => h.due_ms > x.due_ms && h.published_ms < x.published_ms)).length;
}
