import { useEffect, useState, useSyncExternalStore } from "react";
import type { CancelResult, Message, RescheduleResult } from "../api/types";
import { duration } from "../format/time";
import { CANCEL_TEXT, RESCHEDULE_TEXT, STATE_HELP } from "../format/words";
import { keyOf } from "../live/reducer";
import { href } from "../route/route";
import { useConsole } from "../session/console";
import { useLoad } from "../session/use-load";
import { PriorityBadge, StateBadge } from "../ui/badges";
import { Empty, ErrorNotice, Loading, Notice } from "../ui/notice";
import { Countdown } from "../ui/when";
import { CancelDialog } from "./cancel-dialog";
import { MessageFields } from "./message-fields";
import { MessageTimeline } from "./message-timeline";
import { RescheduleDialog } from "./reschedule-dialog";

interface Outcome {
  good: boolean;
  text: string;
}

export function MessageScreen({ topic, id }: { topic: string; id: string }) {
  const { client, store, session } = useConsole();
  const listing = useSyncExternalStore(store.subscribe, () => store.get().listing);
  const loaded = useLoad(`${topic}\n${id}\n${session}\n${listing}`, (signal) => client.message(topic || undefined, id, signal));
  const key = keyOf({ topic: topic || loaded.data?.topic || "", id });
  const message = useSyncExternalStore(store.subscribe, () => store.get().messages.get(key)) ?? loaded.data;
  const [open, setOpen] = useState<"cancel" | "reschedule" | null>(null);
  const [outcome, setOutcome] = useState<Outcome | null>(null);

  const data = loaded.data;
  useEffect(() => {
    if (data) store.dispatch({ type: "listed", messages: [data] });
  }, [data, store]);
  useRetryWhileNew(loaded.error?.status === 404 && !message, loaded.reload);

  const tell = (good: boolean, text: string, latest: Message | undefined) => {
    setOpen(null);
    setOutcome({ good, text });
    if (latest) store.dispatch({ type: "listed", messages: [latest] });
    else loaded.reload();
  };
  const cancelled = (result: CancelResult) => tell(result.answer === "cancelled", CANCEL_TEXT[result.answer], result.message);
  const rescheduled = (result: RescheduleResult) => tell(result.answer === "rescheduled", RESCHEDULE_TEXT[result.answer], result.message);

  return (
    <div className="screen">
      <p className="back"><a href={href("live")}>← Live</a></p>
      <div className="title">
        <h1 tabIndex={-1} className="id">{id}</h1>
        {message && <p className="badges"><StateBadge state={message.state} /> <PriorityBadge priority={message.priority} /></p>}
      </div>
      {outcome && <Notice kind={outcome.good ? "good" : "warn"}>{outcome.text}</Notice>}
      {message ? (
        <>
          <Summary message={message} onOpen={setOpen} />
          {message.overlaps && <Notice kind="warn">An earlier record with this id was being published when this one took its place: that one comes out whatever becomes of this one.</Notice>}
          <div className="columns">
            <MessageTimeline message={message} />
            <MessageFields message={message} />
          </div>
        </>
      ) : loaded.error?.status === 404 ? (
        <Empty title="Not known (yet)">
          <p>No record with this id is known{topic && <> in <code>{topic}</code></>}. One that was produced a moment ago may not have been read yet; the console looks again by itself for a while.</p>
          <div className="actions"><button type="button" onClick={loaded.reload}>Look again</button></div>
        </Empty>
      ) : loaded.error ? (
        <ErrorNotice error={loaded.error} onRetry={loaded.reload} />
      ) : (
        <Loading what="the message" />
      )}
      {message && open === "cancel" && <CancelDialog message={message} onClose={() => setOpen(null)} onDone={cancelled} />}
      {message && open === "reschedule" && <RescheduleDialog message={message} onClose={() => setOpen(null)} onDone={rescheduled} />}
    </div>
  );
}

function Summary({ message, onOpen }: { message: Message; onOpen: (dialog: "cancel" | "reschedule") => void }) {
  const scheduled = message.state === "scheduled";
  return (
    <section className="panel summary" aria-label="State and actions">
      <div>
        {scheduled && message.due_ms !== undefined
          ? <p className="big"><span className="quiet">due</span> <Countdown at={message.due_ms} /></p>
          : <p className="big">{headline(message)}</p>}
        <p className="quiet">{STATE_HELP[message.state]}</p>
      </div>
      <div className="actions">
        <button type="button" disabled={!scheduled} onClick={() => onOpen("reschedule")}>Reschedule…</button>
        <button type="button" className="danger" disabled={!scheduled} onClick={() => onOpen("cancel")}>Cancel…</button>
      </div>
    </section>
  );
}

function headline(message: Message): string {
  if (message.state === "published" && message.late_ms !== undefined) return `published, ${duration(message.late_ms)} late`;
  if (message.state === "dead" && message.reason) return `dead: ${message.reason}`;
  return message.state;
}

/** A record that was just sent is not read yet: look again each second, ten times. */
function useRetryWhileNew(missing: boolean, reload: () => void): void {
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (!missing || tries >= 10) return;
    const timer = window.setTimeout(() => {
      setTries(tries + 1);
      reload();
    }, 1000);
    return () => window.clearTimeout(timer);
  }, [missing, tries, reload]);
}
