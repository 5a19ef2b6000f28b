import { PRIORITIES, STATES } from "../api/types";
import { href } from "../route/route";
import { isFiltered, type Filter } from "../live/filter";
import { Field } from "../ui/field";

interface Props {
  filter: Filter;
  since: string;
  topics: string[];
  targets: string[];
  onChange: (change: Partial<Filter> & { since?: string }) => void;
}

const SINCE: [string, string][] = [["15m", "15 min ago"], ["1h", "1 hour ago"], ["1d", "1 day ago"], ["7d", "7 days ago"], ["all", "the beginning"]];

export function LiveFilters({ filter, since, topics, targets, onChange }: Props) {
  return (
    <form className="filters" role="search" aria-label="Filter messages" onSubmit={(event) => event.preventDefault()}>
      <Field label="Id contains" className="wide">
        {(ids) => <input {...ids} type="search" value={filter.text} placeholder="order-4711" onChange={(e) => onChange({ text: e.target.value })} />}
      </Field>
      <Field label="State">
        {(ids) => <Choice ids={ids} all="all states" values={STATES} value={filter.state} onChange={(state) => onChange({ state })} />}
      </Field>
      <Field label="Priority">
        {(ids) => <Choice ids={ids} all="all" values={PRIORITIES} value={filter.priority} onChange={(priority) => onChange({ priority })} />}
      </Field>
      <Field label="Output topic">
        {(ids) => (
          <>
            <input {...ids} type="search" list="targets" value={filter.target} placeholder="any" onChange={(e) => onChange({ target: e.target.value })} />
            <datalist id="targets">{targets.map((target) => <option key={target} value={target} />)}</datalist>
          </>
        )}
      </Field>
      {(topics.length > 1 || filter.topic) && (
        <Field label="Delay topic">
          {(ids) => <Choice ids={ids} all="all" values={topics.includes(filter.topic) || !filter.topic ? topics : [filter.topic, ...topics]} value={filter.topic} onChange={(topic) => onChange({ topic })} />}
        </Field>
      )}
      <Field label="Due since">
        {(ids) => (
          <select {...ids} value={since} onChange={(e) => onChange({ since: e.target.value })}>
            {SINCE.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
          </select>
        )}
      </Field>
      {isFiltered(filter) && <a className="button clear" href={href("live")}>Clear</a>}
    </form>
  );
}

interface ChoiceProps {
  ids: { id: string };
  all: string;
  values: readonly string[];
  value: string;
  onChange: (value: string) => void;
}

function Choice({ ids, all, values, value, onChange }: ChoiceProps) {
  return (
    <select {...ids} value={value} onChange={(e) => onChange(e.target.value)}>
      <option value="">{all}</option>
      {values.map((name) => <option key={name} value={name}>{name}</option>)}
    </select>
  );
}
