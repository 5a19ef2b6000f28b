import { PRIORITIES, STATES, type Overview } from "../api/types";
import { count } from "../format/time";
import { href } from "../route/route";

/** One tile a state, with its share of each priority. */
export function Counts({ counts }: { counts: Overview["counts"] }) {
  return (
    <ul className="tiles" aria-label="Tracked messages by state">
      {STATES.map((state) => {
        const of = counts.filter((c) => c.state === state);
        const total = sum(of);
        const shares = PRIORITIES.map((priority) => ({ priority, n: sum(of.filter((c) => c.priority === priority)) }));
        const spoken = shares.map(({ priority, n }) => `${count(n)} ${priority}`).join(", ");
        return (
          <li key={state}>
            <a className={`tile tile-${state}`} href={href("live", { state })} aria-label={`${count(total)} ${state}: ${spoken}`}>
              <span className="tile-name">{state}</span>
              <span className="tile-count">{count(total)}</span>
              <span className="share">
                {total > 0 && shares.map(({ priority, n }) => <span key={priority} className={`fill-${priority}`} style={{ flexGrow: n }} />)}
              </span>
              <span className="tile-shares">{shares.map(({ priority, n }) => <span key={priority}><i className={`fill-${priority}`} />{count(n)}</span>)}</span>
            </a>
          </li>
        );
      })}
    </ul>
  );
}

function sum(counts: Overview["counts"]): number {
  return counts.reduce((total, c) => total + c.count, 0);
}
