/** How times and durations are written and read. All pure; `now` is always given. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `412 ms`, `9.4 s`, `48 s`, `12 min 05 s`, `3 h 07 min`, `2 d 04 h`: two units at most, never negative. */
export function duration(ms: number): string {
  const value = Math.abs(ms);
  if (value < SECOND) return `${Math.round(value)} ms`;
  if (value < 10 * SECOND) return `${(Math.floor(value / 100) / 10).toFixed(1)} s`;
  if (value < MINUTE) return `${Math.floor(value / SECOND)} s`;
  if (value < HOUR) return pair(value, MINUTE, "min", SECOND, "s");
  if (value < DAY) return pair(value, HOUR, "h", MINUTE, "min");
  return pair(value, DAY, "d", HOUR, "h");
}

function pair(value: number, big: number, bigName: string, small: number, smallName: string): string {
  const rest = Math.floor((value % big) / small);
  return `${Math.floor(value / big)} ${bigName} ${String(rest).padStart(2, "0")} ${smallName}`;
}

/** `in 9.4 s`, `12 s ago`, `now`. */
export function relative(at: number, now: number): string {
  const delta = at - now;
  if (Math.abs(delta) < 100) return "now";
  return delta > 0 ? `in ${countdown(delta)}` : `${countdown(-delta)} ago`;
}

/** Below a second a ticking clock shows tenths: milliseconds would only flicker. */
function countdown(ms: number): string {
  return ms < SECOND ? `${(Math.floor(ms / 100) / 10).toFixed(1)} s` : duration(ms);
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MINUTES = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DATE = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** Local time of day with milliseconds, with the date when it is not today. */
export function moment(at: number, now: number): string {
  const date = new Date(at);
  const time = `${CLOCK.format(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return date.toDateString() === new Date(now).toDateString() ? time : `${DATE.format(date)}, ${time}`;
}

export function minute(at: number): string {
  return MINUTES.format(new Date(at));
}

const DAY_HOURS = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** `Thu 14:00`. */
export function dayAndHour(at: number): string {
  return DAY_HOURS.format(new Date(at));
}

export function iso(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : date.toISOString();
}

const UNITS: Record<string, number> = { ms: 1, s: SECOND, m: MINUTE, min: MINUTE, h: HOUR, d: DAY };

/** Reads `90s`, `1h 30m`, `250 ms`, `1.5h`, `2d`. A bare number is seconds. Null: not a delay. */
export function parseDelay(text: string): number | null {
  const input = text.trim().toLowerCase();
  if (input === "") return null;
  if (/^\d+(\.\d+)?$/.test(input)) return Math.round(Number(input) * SECOND);
  if (!/^(\d+(\.\d+)?\s*(ms|min|s|m|h|d)\s*)+$/.test(input)) return null;
  let total = 0;
  for (const [, number, unit] of input.matchAll(/(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d)/g)) {
    total += Number(number) * (UNITS[unit ?? ""] ?? Number.NaN);
  }
  return Number.isSafeInteger(Math.round(total)) ? Math.round(total) : null;
}

/** Reads what `<input type="datetime-local">` gives, as local time. Null: not a time. */
export function parseLocalTime(text: string): number | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text)) return null;
  const at = new Date(text).getTime();
  return Number.isNaN(at) ? null : at;
}

/** The same the other way round, to the second. */
export function toLocalTime(at: number): string {
  const d = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

const NUMBER = new Intl.NumberFormat("en");
export function count(n: number): string {
  return NUMBER.format(n);
}
