import { useState } from "react";
import { asApiError, type ApiError } from "../api/error";
import type { CancelResult, Message } from "../api/types";
import { useConsole } from "../session/console";
import { Dialog } from "../ui/dialog";
import { ErrorNotice } from "../ui/notice";
import { Countdown } from "../ui/when";

interface Props {
  message: Message;
  onClose: () => void;
  onDone: (result: CancelResult) => void;
}

export function CancelDialog({ message, onClose, onDone }: Props) {
  const { client } = useConsole();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);

  const cancel = () => {
    setBusy(true);
    setError(null);
    client.cancel(message.topic, message.id).then(onDone, (failure: unknown) => {
      setBusy(false);
      setError(asApiError(failure));
    });
  };

  return (
    <Dialog title="Cancel this record?" onClose={onClose} closable={!busy}>
      <p><code>{message.id}</code> will never be published{message.output_topic && <> to <code>{message.output_topic}</code></>}.</p>
      {message.due_ms !== undefined && <p>It is due <strong><Countdown at={message.due_ms} /></strong>. Until 300 ms before that a cancel succeeds.</p>}
      {error && <ErrorNotice error={error} />}
      <div className="actions">
        <button type="button" data-autofocus disabled={busy} onClick={onClose}>Keep it</button>
        <button type="button" className="danger" disabled={busy} onClick={cancel}>{busy ? "Cancelling…" : "Cancel the record"}</button>
      </div>
    </Dialog>
  );
}
