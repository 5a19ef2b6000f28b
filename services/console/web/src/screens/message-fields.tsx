import type { ReactNode } from "react";
import type { Message } from "../api/types";
import { duration } from "../format/time";
import { Moment } from "../ui/when";

export function MessageFields({ message: m }: { message: Message }) {
  const rows: [string, ReactNode][] = [
    ["Id", m.id],
    ["Delay topic", m.topic],
    ["Source", m.source],
    ["Output topic", m.output_topic],
    ["Priority", m.priority],
    ["Path", m.path],
    ["Accepted", time(m.appended_ms)],
    ["Due", time(m.due_ms)],
    ["Claimed", time(m.claimed_ms)],
    ["Claim holds until", time(m.claimed_until_ms)],
    ["Claimed by", m.claimed_by],
    ["Published", time(m.published_ms)],
    ["Partition", m.partition],
    ["Offset", m.offset],
    ["Late by", m.late_ms === undefined ? undefined : duration(m.late_ms)],
    ["Cancelled", time(m.cancelled_ms)],
    ["Dead since", time(m.dead_ms)],
    ["Reason", m.reason],
    ["Overlaps", m.overlaps === undefined ? undefined : m.overlaps ? "yes" : "no"],
    ["Revision", m.revision],
    ["Forgotten", m.expires_s === undefined ? undefined : time(m.expires_s * 1000)],
  ];
  return (
    <section className="panel" aria-labelledby="fields-title">
      <h2 id="fields-title">Fields</h2>
      <dl className="fields">
        {rows.filter(([, value]) => value !== undefined).map(([name, value]) => (
          <div key={name}><dt>{name}</dt><dd>{value}</dd></div>
        ))}
      </dl>
    </section>
  );
}

function time(at: number | undefined): ReactNode {
  return at === undefined ? undefined : <Moment at={at} />;
}
