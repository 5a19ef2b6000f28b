import { PRIORITIES } from "../api/types";

export function Legend() {
  return <span className="legend" aria-hidden="true">{PRIORITIES.map((p) => <span key={p}><i className={`fill-${p}`} />{p}</span>)}</span>;
}
