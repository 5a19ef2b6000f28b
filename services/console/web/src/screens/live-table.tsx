import { memo, useId, useState, type KeyboardEvent } from "react";
import type { Message } from "../api/types";
import { duration } from "../format/time";
import { endedAt, isOpen, keyOf } from "../live/reducer";
import { messageHref } from "../route/route";
import { PathBadge, PriorityBadge, StateBadge } from "../ui/badges";
import { Countdown } from "../ui/when";

const FIRST = 25;
const FLASH_MS = 2500;

interface Props {
  name: string;
  /** What the times are of. */
  time: string;
  messages: Message[];
  changed: ReadonlyMap<string, number>;
}

/** One row a message; on a narrow screen each row becomes a card. The roles are told, as the cards' layout would hide them. */
export function LiveTable({ name, time, messages, changed }: Props) {
  const [limit, setLimit] = useState(FIRST);
  const id = useId();
  const now = Date.now();
  return (
    <section className="panel list" aria-labelledby={id}>
      <h2 id={id}>{name}</h2>
      <table role="table" aria-labelledby={id}>
        <thead role="rowgroup">
          <tr role="row">
            {["Id", "State", "Priority", time, "Output topic", "Path"].map((head) => <th key={head} role="columnheader" scope="col">{head}</th>)}
          </tr>
        </thead>
        <tbody role="rowgroup" onKeyDown={moveByArrows}>
          {messages.slice(0, limit).map((message) => {
            const key = keyOf(message);
            return <Row key={key} message={message} fresh={now - (changed.get(key) ?? 0) < FLASH_MS} />;
          })}
        </tbody>
      </table>
      {messages.length > limit && <button type="button" className="link more-rows" onClick={() => setLimit(limit + FIRST)}>Show more of {messages.length}</button>}
    </section>
  );
}

const Row = memo(function Row({ message, fresh }: { message: Message; fresh: boolean }) {
  const target = messageHref(message.topic, message.id);
  return (
    // The link in the row is the real control; a click anywhere on the row is a shortcut to it.
    <tr role="row" className={fresh ? `row flash-${message.revision % 2}` : "row"} onClick={() => { if (!window.getSelection()?.toString()) window.location.hash = target; }}>
      <th role="rowheader" scope="row" className="cell-id"><a href={target}>{message.id}</a></th>
      <td role="cell" className="cell-state"><StateBadge state={message.state} /></td>
      <td role="cell" className="cell-priority"><PriorityBadge priority={message.priority} /></td>
      <td role="cell" className="cell-due"><When message={message} /></td>
      <td role="cell" className="cell-target"><span className="topic">{message.output_topic ?? "–"}</span></td>
      <td role="cell" className="cell-path"><PathBadge path={message.path} /></td>
    </tr>
  );
});

function When({ message }: { message: Message }) {
  if (isOpen(message) && message.due_ms !== undefined) return <Countdown at={message.due_ms} />;
  return (
    <>
      <Countdown at={endedAt(message)} />
      {message.late_ms !== undefined && <span className={message.late_ms > 1000 ? "late late-much" : "late"}> {duration(message.late_ms)} late</span>}
    </>
  );
}

/** Arrow keys go from row to row, Home and End to the first and last. */
function moveByArrows(event: KeyboardEvent<HTMLElement>): void {
  const links = [...event.currentTarget.querySelectorAll<HTMLAnchorElement>(".cell-id a")];
  const at = links.indexOf(document.activeElement as HTMLAnchorElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  links[Math.max(0, Math.min(to, links.length - 1))]?.focus();
}
