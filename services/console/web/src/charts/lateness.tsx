import { PRIORITIES, type Lateness } from "../api/types";
import { count, duration } from "../format/time";
import { PriorityBadge } from "../ui/badges";

export function LatenessTable({ lateness }: { lateness: Lateness[] }) {
  const rows = PRIORITIES.map((priority) => lateness.find((l) => l.priority === priority)).filter((l) => l !== undefined);
  if (rows.length === 0) return <p className="quiet">Nothing was published yet. Lateness is published − due, by delayq’s clock.</p>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Lateness by priority">
      <table className="small">
        <thead><tr><th scope="col">Priority</th><th scope="col" className="number">p50</th><th scope="col" className="number">p99</th><th scope="col" className="number">max</th><th scope="col" className="number">records</th></tr></thead>
        <tbody>
          {rows.map((l) => (
            <tr key={l.priority}>
              <th scope="row"><PriorityBadge priority={l.priority} /></th>
              <td className="number">{duration(l.p50_ms)}</td>
              <td className={l.p99_ms > 1000 ? "number bad" : "number"}>{duration(l.p99_ms)}</td>
              <td className="number">{duration(l.max_ms)}</td>
              <td className="number">{count(l.count)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
