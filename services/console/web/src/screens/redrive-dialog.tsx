import { useState } from "react";
import { asApiError } from "../api/error";
import { count } from "../format/time";
import { useConsole } from "../session/console";
import { useLoad } from "../session/use-load";
import { Dialog } from "../ui/dialog";
import { ErrorNotice, Loading } from "../ui/notice";
import type { ApiError } from "../api/error";
import type { RedriveResult } from "../api/types";

interface Props {
  at: string[];
  onClose: () => void;
  onDone: (text: string) => void;
}

/** A dry run first: what the router would do with each. Only those that would be sent are. */
export function RedriveDialog({ at, onClose, onDone }: Props) {
  const { client } = useConsole();
  const dry = useLoad(at.join(" "), () => client.redrive(at, true));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [refused, setRefused] = useState<RedriveResult[]>([]);
  const good = (dry.data?.results ?? []).filter((r) => r.outcome === "sent").map((r) => r.at);

  const send = () => {
    setBusy(true);
    setError(null);
    client.redrive(good, false).then(({ results }) => {
      const sent = results.filter((r) => r.outcome === "sent").length;
      const left = results.filter((r) => r.outcome === "refused");
      setBusy(false);
      if (left.length === 0) onDone(`${count(sent)} sent to the delay topic.`);
      else setRefused(left);
    }, (failure: unknown) => {
      setBusy(false);
      setError(asApiError(failure));
    });
  };

  if (refused.length > 0) {
    return (
      <Dialog title="Some were refused" onClose={() => onDone("Redriven in part.")}>
        <Results results={refused} sent="sent" />
        <div className="actions"><button type="button" data-autofocus onClick={() => onDone("Redriven in part.")}>Close</button></div>
      </Dialog>
    );
  }
  return (
    <Dialog title={`Redrive ${count(at.length)} ${at.length === 1 ? "letter" : "letters"}`} onClose={onClose} closable={!busy}>
      <p>Dry run: what the router would do with each if it were sent to its delay topic again.</p>
      {!dry.data && dry.loading && <Loading what="the dry run" />}
      {dry.error && <ErrorNotice error={dry.error} onRetry={dry.reload} />}
      {dry.data && <Results results={dry.data.results} sent="would be sent" />}
      {error && <ErrorNotice error={error} />}
      <div className="actions">
        <button type="button" data-autofocus disabled={busy} onClick={onClose}>Leave them</button>
        <button type="button" className="primary" disabled={busy || good.length === 0} onClick={send}>{busy ? "Sending…" : `Redrive ${count(good.length)}`}</button>
      </div>
    </Dialog>
  );
}

function Results({ results, sent }: { results: RedriveResult[]; sent: string }) {
  return (
    <ul className="results" tabIndex={0} aria-label="Results">
      {results.map((r) => (
        <li key={r.at}><code>{r.at}</code> <span className={r.outcome === "sent" ? "good" : "bad"}>{r.outcome === "sent" ? sent : "refused"}</span>{r.detail && <span className="quiet"> {r.detail}</span>}</li>
      ))}
    </ul>
  );
}
