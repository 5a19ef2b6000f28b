import { useState, type FormEvent } from "react";
import { asApiError, type ApiError } from "../api/error";
import { count } from "../format/time";
import { useConsole } from "../session/console";
import { Dialog } from "../ui/dialog";
import { Field } from "../ui/field";
import { ErrorNotice } from "../ui/notice";

interface Props {
  at: string[];
  onClose: () => void;
  onDone: (text: string) => void;
}

/** Purged letters are gone for good, so the number is typed. */
export function PurgeDialog({ at, onClose, onDone }: Props) {
  const { client } = useConsole();
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const sure = typed.trim() === String(at.length);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!sure) return;
    setBusy(true);
    client.purge(at).then(({ purged }) => onDone(`${count(purged)} purged.`), (failure: unknown) => {
      setBusy(false);
      setError(asApiError(failure));
    });
  };

  return (
    <Dialog title={`Purge ${count(at.length)} ${at.length === 1 ? "letter" : "letters"}?`} onClose={onClose} closable={!busy}>
      <form onSubmit={submit}>
        <p>They are marked as done and deleted. What is in them is lost, and cannot be redriven.</p>
        <Field label={`Type ${at.length} to confirm`}>
          {(ids) => <input {...ids} data-autofocus type="text" inputMode="numeric" autoComplete="off" value={typed} onChange={(e) => setTyped(e.target.value)} />}
        </Field>
        {error && <ErrorNotice error={error} />}
        <div className="actions">
          <button type="button" disabled={busy} onClick={onClose}>Keep them</button>
          <button type="submit" className="danger" disabled={busy || !sure}>{busy ? "Purging…" : "Purge"}</button>
        </div>
      </form>
    </Dialog>
  );
}
