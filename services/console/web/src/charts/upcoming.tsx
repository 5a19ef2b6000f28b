import { PRIORITIES, type Priority, type Upcoming } from "../api/types";
import { count, dayAndHour, duration, minute } from "../format/time";
import { Legend } from "./legend";
import { compact, niceTop } from "./scale";

const WIDTH = 720;
const HEIGHT = 250;
const LEFT = 52;
const BOTTOM = 28;
const TOP = 8;
const TICKS = 6;

const DAY_MS = 86_400_000;

/** Records due by time, stacked by priority. */
export function UpcomingChart({ upcoming, within }: { upcoming: Upcoming; within: string }) {
  const start = Math.floor(upcoming.from_ms / upcoming.bucket_ms) * upcoming.bucket_ms;
  const places = Math.max(1, Math.ceil((upcoming.until_ms - start) / upcoming.bucket_ms));
  const label = upcoming.until_ms - start > DAY_MS + upcoming.bucket_ms ? dayAndHour : minute;
  const bars = upcoming.buckets.map((bucket) => ({ from_ms: bucket.from_ms, by: byPriority(bucket.counts) }));
  const totals = bars.map((bar) => PRIORITIES.reduce((sum, p) => sum + bar.by[p], 0));
  const all = totals.reduce((sum, n) => sum + n, 0);
  if (all === 0) return <p className="quiet">Nothing is due in the next {within}.</p>;
  const top = niceTop(Math.max(...totals));
  const step = (WIDTH - LEFT) / places;
  const left = (at: number) => LEFT + ((at - start) / upcoming.bucket_ms) * step;
  const height = (n: number) => (n / top) * (HEIGHT - TOP - BOTTOM);
  const peak = totals.indexOf(Math.max(...totals));
  const peakAt = bars[peak]?.from_ms ?? 0;
  const summary = `${upcoming.exact ? "" : "about "}${count(all)} records; most, ${count(totals[peak] ?? 0)}, at ${label(peakAt)}`;

  return (
    <figure className="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`Due by ${duration(upcoming.bucket_ms)}: ${summary}`}>
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line className="rule" x1={LEFT} x2={WIDTH} y1={HEIGHT - BOTTOM - height(top * part)} y2={HEIGHT - BOTTOM - height(top * part)} />
            <text className="tick" x={LEFT - 8} y={HEIGHT - BOTTOM - height(top * part) + 4} textAnchor="end">{compact(top * part)}</text>
          </g>
        ))}
        {bars.map((bar) => {
          const x = left(bar.from_ms);
          let y = HEIGHT - BOTTOM;
          return (
            <g key={bar.from_ms}>
              <title>{`${label(bar.from_ms)}: ${PRIORITIES.map((p) => `${count(bar.by[p])} ${p}`).join(", ")}`}</title>
              <rect className="hover" x={x} y={TOP} width={step} height={HEIGHT - TOP - BOTTOM} />
              {[...PRIORITIES].reverse().map((p) => {
                y -= height(bar.by[p]);
                return <rect key={p} className={`bar-${p}`} x={x + step * 0.12} y={y} width={step * 0.76} height={height(bar.by[p])} />;
              })}
            </g>
          );
        })}
        {Array.from({ length: TICKS }, (_, i) => start + Math.floor((i * places) / TICKS) * upcoming.bucket_ms).map((at) => (
          <text key={at} className="tick" x={left(at)} y={HEIGHT - 6}>{label(at)}</text>
        ))}
      </svg>
      <figcaption><Legend /> <span className="quiet">{summary}</span></figcaption>
    </figure>
  );
}

function byPriority(counts: { priority: Priority; count: number }[]): Record<Priority, number> {
  const by = { high: 0, standard: 0, low: 0 };
  for (const c of counts) by[c.priority] += c.count;
  return by;
}
