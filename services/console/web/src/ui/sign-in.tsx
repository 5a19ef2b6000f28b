import { useState, type FormEvent } from "react";
import { fitsProtocol } from "../session/token";
import { Dialog } from "./dialog";
import { Field } from "./field";

interface Props {
  /** A token was sent and refused. */
  refused: boolean;
  onToken: (token: string) => void;
}

export function SignIn({ refused, onToken }: Props) {
  const [token, setToken] = useState("");
  const [error, setError] = useState(refused ? "That token was refused." : "");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const text = token.trim();
    if (text === "") setError("Enter a token.");
    else if (!fitsProtocol(text)) setError("A token has letters, digits and - . _ ~ only.");
    else onToken(text);
  };
  return (
    <Dialog title="Sign in" onClose={() => undefined} closable={false}>
      <form onSubmit={submit} noValidate>
        <p>This console asks for a token. Whoever runs delayq can give you one. It is kept until this tab is closed.</p>
        <Field label="Token" error={error || undefined}>
          {(ids) => <input {...ids} data-autofocus type="password" autoComplete="current-password" value={token} onChange={(e) => setToken(e.target.value)} />}
        </Field>
        <div className="actions"><button type="submit" className="primary">Sign in</button></div>
      </form>
    </Dialog>
  );
}
