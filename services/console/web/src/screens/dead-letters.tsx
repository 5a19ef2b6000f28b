import { useEffect, useMemo, useState } from "react";
import type { DeadLetter } from "../api/types";
import { count } from "../format/time";
import { useConsole } from "../session/console";
import { useLoad } from "../session/use-load";
import { Field } from "../ui/field";
import { Empty, ErrorNotice, Loading } from "../ui/notice";
import { LetterList } from "./letter-list";
import { PurgeDialog } from "./purge-dialog";
import { RedriveDialog } from "./redrive-dialog";

const PAGE = 50;

export function DeadLettersScreen() {
  const { client, session, announce } = useConsole();
  const [typed, setTyped] = useState({ reason: "", target: "" });
  const asked = useDebounced(typed);
  const [more, setMore] = useState<{ letters: DeadLetter[]; next: string | null } | null>(null);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<"redrive" | "purge" | null>(null);
  const page = useLoad(`${JSON.stringify(asked)} ${session}`, (signal) => client.deadLetters({ ...asked, limit: PAGE }, signal));
  useEffect(() => setMore(null), [page.data]);

  const letters = useMemo(() => [...(page.data?.letters ?? []), ...(more?.letters ?? [])], [page.data, more]);
  const next = more ? more.next : page.data?.next ?? null;
  const at = letters.map((l) => l.at).filter((one) => chosen.has(one));
  const filtered = asked.reason !== "" || asked.target !== "";

  const loadMore = async () => {
    if (!next) return;
    const got = await client.deadLetters({ ...asked, limit: PAGE, after: next }).catch(() => null);
    if (got) setMore((old) => ({ letters: [...(old?.letters ?? []), ...got.letters], next: got.next }));
  };
  const toggle = (one: string) => setChosen((old) => (old.has(one) ? new Set([...old].filter((x) => x !== one)) : new Set([...old, one])));
  const done = (text: string) => {
    setOpen(null);
    setChosen(new Set());
    announce(text);
    page.reload();
  };

  return (
    <div className="screen">
      <div className="title"><h1 tabIndex={-1}>Dead letters</h1><p className="quiet">What delayq could not honour, with the reason</p></div>
      <form className="filters" role="search" aria-label="Filter dead letters" onSubmit={(e) => e.preventDefault()}>
        <Field label="Reason">{(ids) => <input {...ids} type="search" placeholder="publish-*" value={typed.reason} onChange={(e) => setTyped({ ...typed, reason: e.target.value })} />}</Field>
        <Field label="Target or output topic">{(ids) => <input {...ids} type="search" placeholder="any" value={typed.target} onChange={(e) => setTyped({ ...typed, target: e.target.value })} />}</Field>
      </form>
      {page.error && <ErrorNotice error={page.error} onRetry={page.reload} />}
      {letters.length === 0 && page.loading && <Loading what="dead letters" />}
      {letters.length === 0 && !page.loading && !page.error && (
        filtered
          ? <Empty title="No dead letter matches"><p>Both filters may hold <code>*</code>, as in <code>publish-*</code>.</p></Empty>
          : <Empty title="No dead letters"><p>Every record was published, cancelled, or still waits. Refused and failed records show here, each with its reason, its detail and where it came from.</p></Empty>
      )}
      {letters.length > 0 && (
        <>
          <div className="bar" role="group" aria-label="Actions on selected letters">
            <label className="check">
              <input type="checkbox" checked={at.length === letters.length} ref={(box) => { if (box) box.indeterminate = at.length > 0 && at.length < letters.length; }} onChange={() => setChosen(at.length === letters.length ? new Set() : new Set(letters.map((l) => l.at)))} />
              Select all
            </label>
            <span className="quiet" role="status">{at.length > 0 ? `${count(at.length)} of ${count(letters.length)} selected` : `${count(letters.length)} shown`}</span>
            <div className="actions">
              <button type="button" disabled={at.length === 0} onClick={() => setOpen("redrive")}>Redrive…</button>
              <button type="button" className="danger" disabled={at.length === 0} onClick={() => setOpen("purge")}>Purge…</button>
            </div>
          </div>
          <LetterList letters={letters} chosen={chosen} onToggle={toggle} />
          {next && <div className="more"><button type="button" onClick={() => void loadMore()}>Load more</button></div>}
        </>
      )}
      {open === "redrive" && <RedriveDialog at={at} onClose={() => setOpen(null)} onDone={done} />}
      {open === "purge" && <PurgeDialog at={at} onClose={() => setOpen(null)} onDone={done} />}
    </div>
  );
}

/** What was typed, once it has rested for a moment. */
function useDebounced<T>(value: T): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => setRested(value), 300);
    return () => window.clearTimeout(timer);
  }, [value]);
  return rested;
}
