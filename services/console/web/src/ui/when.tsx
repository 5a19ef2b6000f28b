import { iso, moment, relative } from "../format/time";
import { useNow } from "../session/use-now";

/** Ticks: `in 9.4 s`, `12 s ago`. */
export function Countdown({ at }: { at: number }) {
  const now = useNow(Math.abs(at - Date.now()) < 15_000 ? 250 : 1000);
  return <time dateTime={iso(at)} title={iso(at)} className="countdown">{relative(at, now)}</time>;
}

/** Stands still: the local time, with UTC as its title. */
export function Moment({ at }: { at: number }) {
  return <time dateTime={iso(at)} title={iso(at)}>{moment(at, Date.now())}</time>;
}
