import { useEffect, useState, type ReactNode } from "react";
import { BypassChart } from "../charts/bypass";
import { LatenessTable } from "../charts/lateness";
import { UpcomingChart } from "../charts/upcoming";
import { useConsole } from "../session/console";
import { useLoad } from "../session/use-load";
import { ErrorNotice, Loading, Notice } from "../ui/notice";
import { Counts } from "./overview-counts";
import { Queues, Shards } from "./overview-tiers";

export function OverviewScreen() {
  const { client, store, session } = useConsole();
  const overview = useLoad(`overview ${session}`, (signal) => client.overview(signal), 5000);
  const [ahead, setAhead] = useState<(typeof AHEAD)[number]>(AHEAD[0]);
  const upcoming = useLoad(`upcoming ${session} ${ahead.ms}`, (signal) => client.upcoming(ahead.ms, signal), 10_000);
  const data = overview.data;
  useEffect(() => {
    if (data) store.dispatch({ type: "clock", serverNow: data.now_ms, now: Date.now() });
  }, [data, store]);

  return (
    <div className="screen">
      <div className="title">
        <h1 tabIndex={-1}>Overview</h1>
        {data && <p className={`health health-${!data.ready ? "bad" : data.problems.length > 0 ? "warn" : "good"}`} role="status">{healthText(data.ready, data.problems.length)}</p>}
      </div>
      {overview.error && <ErrorNotice error={overview.error} onRetry={overview.reload} />}
      {!data && overview.loading && <Loading what="the overview" />}
      {data && data.problems.length > 0 && (
        <Notice kind={data.ready ? "warn" : "bad"}>
          <ul className="problems">{data.problems.map((p) => <li key={p.component + p.reason}><strong>{p.component}</strong>: {p.reason}</li>)}</ul>
        </Notice>
      )}
      {data && <Counts counts={data.counts} />}
      <div className="grid">
        <Panel title={`Due in the next ${ahead.name}`} wide>
          <div className="bar" role="group" aria-label="How far ahead">
            {AHEAD.map((one) => <button key={one.name} type="button" aria-pressed={one === ahead} onClick={() => setAhead(one)}>{one.name}</button>)}
          </div>
          {upcoming.data ? <UpcomingChart upcoming={upcoming.data} within={ahead.name} /> : upcoming.error && overview.error ? <p className="quiet">Not known.</p> : upcoming.error ? <ErrorNotice error={upcoming.error} onRetry={upcoming.reload} /> : <Loading what="what is due" />}
        </Panel>
        <Panel title="Published by priority, last 2 minutes" wide><BypassChart /></Panel>
        {data && <Panel title="Lateness"><LatenessTable lateness={data.lateness} /></Panel>}
        {data && <Panel title="Queues"><Queues queues={data.queues} /></Panel>}
        {data && <Panel title="Shards of the long tier"><Shards shards={data.shards} /></Panel>}
      </div>
    </div>
  );
}

const AHEAD = [
  { name: "hour", ms: 3_600_000 },
  { name: "day", ms: 24 * 3_600_000 },
  { name: "week", ms: 7 * 24 * 3_600_000 },
] as const;

function healthText(ready: boolean, problems: number): string {
  if (ready && problems === 0) return "Ready, no problems";
  const many = `${problems} ${problems === 1 ? "problem" : "problems"}`;
  return ready ? `Ready, ${many}` : `Not ready, ${many}`;
}

function Panel({ title, wide = false, children }: { title: string; wide?: boolean; children: ReactNode }) {
  return (
    <section className={wide ? "panel panel-wide" : "panel"} aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}
