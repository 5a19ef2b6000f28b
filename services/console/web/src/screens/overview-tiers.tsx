import type { Queue, Shard } from "../api/types";
import { count, duration } from "../format/time";

/** A watermark that has not moved for two buckets of 5 minutes is behind. */
const BEHIND_MS = 600_000;

export function Shards({ shards }: { shards: Shard[] }) {
  if (shards.length === 0) return <p className="quiet">No shard has held a record yet: all that came was due within 15 minutes.</p>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Shards">
      <table className="small">
        <thead><tr><th scope="col">Shard</th><th scope="col">Lock holder</th><th scope="col">Closing</th><th scope="col" className="number">Watermark age</th></tr></thead>
        <tbody>
          {shards.map((s) => (
            <tr key={s.shard}>
              <th scope="row">{s.shard}</th>
              <td>{s.owner ?? <span className="quiet">nobody</span>}</td>
              <td>{closing(s.closing)}</td>
              <td className={(s.watermark_age_ms ?? 0) > BEHIND_MS ? "number bad" : "number"}>{s.watermark_age_ms === null ? "–" : duration(s.watermark_age_ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function closing(value: Shard["closing"]): string {
  if (value === null || value === false) return "–";
  return value === true ? "yes" : String(value);
}

export function Queues({ queues }: { queues: Queue[] }) {
  if (queues.length === 0) return <p className="quiet">No queues are known.</p>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Queues">
      <table className="small">
        <thead><tr><th scope="col">Queue</th><th scope="col" className="number">Ready</th><th scope="col" className="number">In flight</th><th scope="col" className="number">Delayed</th></tr></thead>
        <tbody>
          {queues.map((q) => (
            <tr key={q.name}>
              <th scope="row" className="topic">{q.name}</th>
              <td className="number">{count(q.messages)}</td><td className="number">{count(q.in_flight)}</td><td className="number">{count(q.delayed)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
