import { parseDelay, parseLocalTime, toLocalTime } from "../format/time";
import { Field } from "./field";

/** When a record is due: after a delay, or at a time. Used by sending and by rescheduling. */
export interface DueInput {
  mode: "delay" | "time";
  delay: string;
  time: string;
}

export const firstDue: DueInput = { mode: "delay", delay: "30s", time: "" };

export type DueChoice = { delay_ms: number } | { deliver_at_ms: number };

/** Null: what was typed is neither. */
export function readDue(input: DueInput): DueChoice | null {
  if (input.mode === "delay") {
    const delay = parseDelay(input.delay);
    return delay === null ? null : { delay_ms: delay };
  }
  const at = parseLocalTime(input.time);
  return at === null ? null : { deliver_at_ms: at };
}

const PRESETS = ["5s", "30s", "5m", "1h", "1d"];

interface Props {
  value: DueInput;
  onChange: (value: DueInput) => void;
  showError: boolean;
  autofocus?: boolean;
}

export function DueField({ value, onChange, showError, autofocus = false }: Props) {
  const error = showError && readDue(value) === null;
  const choose = (mode: DueInput["mode"]) => onChange({ ...value, mode, time: value.time || toLocalTime(Date.now() + 300_000) });
  const focus = autofocus ? { "data-autofocus": true } : {};
  return (
    <fieldset className="due">
      <legend>Due</legend>
      <div className="segments">
        <label><input type="radio" checked={value.mode === "delay"} onChange={() => choose("delay")} /> After a delay</label>
        <label><input type="radio" checked={value.mode === "time"} onChange={() => choose("time")} /> At a time</label>
      </div>
      {value.mode === "delay" ? (
        <>
          <Field label="Delay" hint="Such as 250ms, 90s, 15m, 1h 30m or 2d" error={error ? "Not a delay: write it as 90s, 15m or 1h 30m." : undefined}>
            {(ids) => <input {...ids} {...focus} type="text" autoComplete="off" value={value.delay} onChange={(e) => onChange({ ...value, delay: e.target.value })} />}
          </Field>
          <div className="chips" role="group" aria-label="Common delays">
            {PRESETS.map((preset) => (
              <button type="button" key={preset} className="chip" aria-pressed={value.delay === preset} onClick={() => onChange({ ...value, delay: preset })}>{preset}</button>
            ))}
          </div>
        </>
      ) : (
        <Field label="Time" hint="In your local time; a time in the past is published at once" error={error ? "Give a date and a time." : undefined}>
          {(ids) => <input {...ids} {...focus} type="datetime-local" step={1} value={value.time} onChange={(e) => onChange({ ...value, time: e.target.value })} />}
        </Field>
      )}
    </fieldset>
  );
}
