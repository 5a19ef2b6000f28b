import { useEffect, useState, type FormEvent } from "react";
import type { AccessOffer, OidcOffer } from "../api/types";
import { beginSignOn } from "../session/sign-on";
import { fitsProtocol, writeToken } from "../session/token";
import { Dialog } from "./dialog";
import { Field } from "./field";
import { Loading } from "./notice";

/** Why somebody has to sign in. */
export interface Asked {
  /** A token was sent and refused. */
  refused?: boolean;
  /** What went wrong on the way back from the issuer. */
  failed?: string;
  /** Signed in, but nothing here is for that person: in the API's words. */
  noRole?: string;
}

interface Props {
  asked: Asked;
  load: () => Promise<AccessOffer>;
  /** Where the issuer sends the browser back to. */
  redirectUri: string;
  onToken: (token: string) => void;
  /** Where there is something to see without: closes the box. */
  onClose?: (() => void) | undefined;
  /** Leaves the page. */
  leave?: (url: string) => void;
}

/** A box that asks who it is: with single sign-on where there is, by token where there is none. */
export function SignIn({ asked, load, redirectUri, onToken, onClose, leave = (url) => window.location.assign(url) }: Props) {
  const [offer, setOffer] = useState<AccessOffer | "unknown" | null>(null);
  const [round, setRound] = useState(0);
  useEffect(() => {
    let gone = false;
    load().then((found) => !gone && setOffer(found), () => !gone && setOffer("unknown"));
    return () => {
      gone = true;
    };
  }, [load, round]);

  const known = offer === "unknown" ? null : offer;
  const again = () => {
    setOffer(null);
    setRound((n) => n + 1);
  };
  return (
    <Dialog title={asked.noRole ? "No role" : "Sign in"} onClose={onClose ?? (() => undefined)} closable={onClose !== undefined}>
      {asked.failed && <Problem text={asked.failed} />}
      {asked.noRole && <Problem text={asked.noRole} />}
      {offer === null ? <Loading what="how to sign in" />
        : known?.load_balancer ? <ByLoadBalancer refused={asked.refused === true} noRole={asked.noRole !== undefined} />
        : known?.oidc ? <ByIssuer offer={known.oidc} tokens={known.tokens} asked={asked} redirectUri={redirectUri} onToken={onToken} onAgain={again} leave={leave} />
        : <ByToken refused={asked.refused === true} onToken={onToken} />}
    </Dialog>
  );
}

function Problem({ text }: { text: string }) {
  return <div className="notice notice-bad" role="alert"><div>{text}</div></div>;
}

function ByLoadBalancer({ refused, noRole }: { refused: boolean; noRole: boolean }) {
  return (
    <>
      <p>{noRole ? "The load balancer in front of this console has signed you in. Once you have a role, load the page again."
        : refused ? "The token of this tab was refused. Without it the load balancer in front of this console signs you in: load the page again."
        : "The load balancer in front of this console signs you in: load the page again."}</p>
      <div className="actions"><button type="button" className="primary" autoFocus onClick={loadAgain}>Load again</button></div>
    </>
  );
}

function loadAgain() {
  writeToken(null);
  window.location.reload();
}

interface ByIssuerProps {
  offer: OidcOffer;
  tokens: boolean;
  asked: Asked;
  redirectUri: string;
  onToken: (token: string) => void;
  onAgain: () => void;
  leave: (url: string) => void;
}

function ByIssuer({ offer, tokens, asked, redirectUri, onToken, onAgain, leave }: ByIssuerProps) {
  const [byToken, setByToken] = useState(false);
  const [failed, setFailed] = useState("");
  const [leaving, setLeaving] = useState(false);
  const host = hostOf(offer.issuer);
  if (byToken) return <ByToken refused={false} onToken={onToken} />;
  const go = () => {
    setLeaving(true);
    setFailed("");
    beginSignOn(offer, redirectUri, window.location.hash, asked.noRole !== undefined).then(leave, (error: unknown) => {
      setLeaving(false);
      setFailed(error instanceof Error ? error.message : String(error));
    });
  };
  const instead = tokens && <button type="button" className="link" onClick={() => setByToken(true)}>Use a token instead</button>;
  if (offer.problem) {
    return (
      <>
        <div className="notice notice-warn" role="alert">
          <div><strong>{host} does not answer</strong><p className="quiet">Nobody can sign in there now: {offer.problem}</p></div>
        </div>
        <div className="actions">{instead}<button type="button" className="primary" autoFocus onClick={onAgain}>Try again</button></div>
      </>
    );
  }
  return (
    <>
      {failed && <Problem text={failed} />}
      <p>{asked.noRole ? <>You can sign in at <strong>{host}</strong> as somebody else.</>
        : asked.refused ? <>Your sign-in is no longer good. Sign in again at <strong>{host}</strong>; you come back to this screen.</>
        : <>You sign in at <strong>{host}</strong>, and come back here. It lasts until this tab is closed or the sign-in expires.</>}</p>
      <div className="actions">
        {instead}
        <button type="button" className="primary" autoFocus disabled={leaving} onClick={go}>{asked.noRole ? "Sign in as somebody else" : asked.refused ? "Sign in again" : "Sign in"}</button>
      </div>
    </>
  );
}

function ByToken({ refused, onToken }: { refused: boolean; onToken: (token: string) => void }) {
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
    <form onSubmit={submit} noValidate>
      <p>This console asks for a token. Whoever runs delayq can give you one. It is kept until this tab is closed.</p>
      <Field label="Token" error={error || undefined}>
        {(ids) => <input {...ids} autoFocus type="password" autoComplete="current-password" value={token} onChange={(e) => setToken(e.target.value)} />}
      </Field>
      <div className="actions"><button type="submit" className="primary">Sign in</button></div>
    </form>
  );
}

function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}
