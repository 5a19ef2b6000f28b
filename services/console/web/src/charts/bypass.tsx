import { count, duration } from "../format/time";
import { lanes, overtaken } from "../live/bypass";
import { useLive } from "../session/console";
import { useNow } from "../session/use-now";
import { PriorityBadge } from "../ui/badges";

const SLOT_MS = 2000;
const SLOTS = 60;
const WIDTH = 600;
const HEIGHT = 44;

/** One lane a priority on one scale: under a backlog high goes on while standard and low wait. */
export function BypassChart() {
  const { publications } = useLive();
  const now = useNow(SLOT_MS);
  const rows = lanes(publications, now, SLOT_MS, SLOTS);
  const top = Math.max(1, ...rows.flatMap((lane) => lane.slots));
  const passed = overtaken(publications);
  const step = WIDTH / SLOTS;
  if (publications.length === 0) return <p className="quiet">No tracked record was published since this console was opened. Publications show here as they happen: high passes standard and low when they pile up.</p>;
  return (
    <figure className="chart lanes">
      {rows.map((lane) => (
        <div className="lane" key={lane.priority}>
          <PriorityBadge priority={lane.priority} />
          <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${lane.priority}: ${count(lane.total)} published, at most ${duration(lane.worst_late_ms)} late`}>
            <line className="rule" x1={0} x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
            {lane.slots.map((n, i) => {
              const h = (n / top) * (HEIGHT - 2);
              return n > 0 && <rect key={i} className={`bar-${lane.priority}`} x={i * step + step * 0.12} y={HEIGHT - h} width={step * 0.76} height={h} />;
            })}
          </svg>
          <span className="lane-end" aria-hidden="true"><strong>{count(lane.total)}</strong><span className="quiet">≤ {duration(lane.worst_late_ms)} late</span></span>
        </div>
      ))}
      <div className="lane-axis" aria-hidden="true"><span>2 min ago</span><span>now</span></div>
      <figcaption className="quiet">
        {passed > 0
          ? <><strong>{count(passed)}</strong> standard and low records were overtaken by a high one that was due after them.</>
          : "No high record had to overtake others: nothing waits."}
      </figcaption>
    </figure>
  );
}
