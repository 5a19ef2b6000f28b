import type { MessageState, Path, Priority } from "../api/types";
import { PATH_HELP, STATE_HELP } from "../format/words";

/** State, priority and path differ by shape and word, not by colour alone. */

export function StateBadge({ state }: { state: MessageState }) {
  return <span className={`state state-${state}`} title={STATE_HELP[state]}>{state}</span>;
}

export function PriorityBadge({ priority }: { priority: Priority | undefined }) {
  if (!priority) return <span className="quiet">–</span>;
  return <span className={`priority priority-${priority}`}>{priority}</span>;
}

export function PathBadge({ path }: { path: Path | undefined }) {
  if (!path) return <span className="quiet">–</span>;
  return <span className="path" title={PATH_HELP[path]}>{path}</span>;
}
