import { useState, type FormEvent } from "react";
import { asApiError, type ApiError } from "../api/error";
import type { Message, RescheduleResult } from "../api/types";
import { useConsole } from "../session/console";
import { Dialog } from "../ui/dialog";
import { DueField, firstDue, readDue } from "../ui/due-field";
import { ErrorNotice } from "../ui/notice";

interface Props {
  message: Message;
  onClose: () => void;
  onDone: (result: RescheduleResult) => void;
}

export function RescheduleDialog({ message, onClose, onDone }: Props) {
  const { client } = useConsole();
  const [due, setDue] = useState({ ...firstDue, delay: "5m" });
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    const choice = readDue(due);
    if (!choice) return;
    setBusy(true);
    setError(null);
    client.reschedule(message.topic, message.id, choice).then(onDone, (failure: unknown) => {
      setBusy(false);
      setError(asApiError(failure));
    });
  };

  return (
    <Dialog title="Reschedule" onClose={onClose} closable={!busy}>
      <form onSubmit={submit} noValidate>
        <p><code>{message.id}</code> gets a new due time; a delay counts from now.</p>
        <DueField value={due} onChange={setDue} showError={tried} autofocus />
        {error && <ErrorNotice error={error} />}
        <div className="actions">
          <button type="button" disabled={busy} onClick={onClose}>Leave it</button>
          <button type="submit" className="primary" disabled={busy}>{busy ? "Rescheduling…" : "Reschedule"}</button>
        </div>
      </form>
    </Dialog>
  );
}
