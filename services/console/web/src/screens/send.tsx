import { useState, type FormEvent } from "react";
import { asApiError, type ApiError } from "../api/error";
import { PRIORITIES, type Accepted, type Priority } from "../api/types";
import { href, messageHref } from "../route/route";
import { useConsole } from "../session/console";
import { DueField, readDue } from "../ui/due-field";
import { Field } from "../ui/field";
import { ErrorNotice, Notice } from "../ui/notice";
import { Countdown } from "../ui/when";
import { HeadersField } from "./headers-field";
import { emptyDraft, freshId, recordOf, type Draft } from "./send-draft";

export function SendScreen() {
  const { client } = useConsole();
  const [draft, setDraft] = useState<Draft>(emptyDraft);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [accepted, setAccepted] = useState<Accepted | null>(null);
  const set = (change: Partial<Draft>) => setDraft((old) => ({ ...old, ...change }));

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    const record = recordOf(draft);
    if (!record) return;
    setBusy(true);
    setError(null);
    setAccepted(null);
    client.send(record).then((answer) => {
      setAccepted(answer);
      setTried(false);
    }, (failure: unknown) => setError(asApiError(failure))).finally(() => setBusy(false));
  };

  return (
    <div className="screen narrow">
      <div className="title"><h1 tabIndex={-1}>Send</h1><p className="quiet">A record to the delay topic, as a producer would send it</p></div>
      <form className="panel form" onSubmit={submit} noValidate>
        <div className="pair">
          <Field label="Target" hint="Topic; its priority is added as delayq is configured" error={tried && !draft.target.trim() ? "Name the topic that the record is for." : undefined}>
            {(ids) => <input {...ids} type="text" required autoComplete="off" placeholder="orders" value={draft.target} onChange={(e) => set({ target: e.target.value })} />}
          </Field>
          <Field label="Priority">
            {(ids) => (
              <select {...ids} value={draft.priority} onChange={(e) => set({ priority: e.target.value as Priority })}>
                {PRIORITIES.map((priority) => <option key={priority}>{priority}</option>)}
              </select>
            )}
          </Field>
        </div>
        <Field label="Value">
          {(ids) => <textarea {...ids} rows={4} spellCheck={false} value={draft.value} placeholder='{"order": 4711}' onChange={(e) => set({ value: e.target.value })} />}
        </Field>
        <div className="pair">
          <Field label="Id" hint={<>Makes it tracked: it can be cancelled and looked up. <button type="button" className="link" onClick={() => set({ id: freshId() })}>Make one up</button></>}>
            {(ids) => <input {...ids} type="text" autoComplete="off" value={draft.id} placeholder="none: not tracked" onChange={(e) => set({ id: e.target.value })} />}
          </Field>
          <Field label="Key" hint="Left empty, the id is the key">
            {(ids) => <input {...ids} type="text" autoComplete="off" value={draft.key} onChange={(e) => set({ key: e.target.value })} />}
          </Field>
        </div>
        <DueField value={draft.due} onChange={(due) => set({ due })} showError={tried && !readDue(draft.due)} />
        <HeadersField headers={draft.headers} onChange={(headers) => set({ headers })} />
        <details>
          <summary>Delay topic</summary>
          <Field label="Delay topic" hint="Left empty, the configured one">
            {(ids) => <input {...ids} type="text" autoComplete="off" value={draft.topic} onChange={(e) => set({ topic: e.target.value })} />}
          </Field>
        </details>
        {error && <ErrorNotice error={error} />}
        {accepted && <AcceptedNotice accepted={accepted} />}
        <div className="actions"><button type="submit" className="primary" disabled={busy}>{busy ? "Sending…" : "Send"}</button></div>
      </form>
    </div>
  );
}

function AcceptedNotice({ accepted }: { accepted: Accepted }) {
  const topic = accepted.source.split("/")[0] ?? "";
  return (
    <Notice kind="good">
      <strong>Accepted</strong> as <code>{accepted.source}</code>, for <code>{accepted.output_topic}</code>, due <Countdown at={accepted.due_ms} />.
      {accepted.id
        ? <p><a href={messageHref(topic, accepted.id)}>Follow {accepted.id}</a></p>
        : <p className="quiet">It has no id, so it does not show under <a href={href("live")}>Live</a>.</p>}
    </Notice>
  );
}
