import { useState } from "react";
import { useConsole } from "../session/console";
import { nameOf, signOutUrl } from "../session/sign-on";
import { readToken, writeToken } from "../session/token";

/** Beside the theme, while this tab has a token. What a load balancer keeps is not the page's to end. */
export function SignOut() {
  // It is drawn anew with each session: a token comes and goes with one.
  const { client } = useConsole();
  const [leaving, setLeaving] = useState(false);
  const token = readToken();
  if (token === null) return null;
  const name = nameOf(token);
  const go = async () => {
    setLeaving(true);
    // Only whom the issuer has signed in is signed out there.
    const offer = name === null ? null : await client.access().catch(() => null);
    writeToken(null);
    // Loading the page again ends the connection, and forgets all that was shown.
    const url = signOutUrl(offer?.oidc ?? null, new URL("./", document.baseURI).href);
    if (url) window.location.assign(url);
    else window.location.reload();
  };
  const title = name === null ? "Sign out" : `Sign out ${name}`;
  return <button type="button" className="link sign-out" title={title} aria-label={title} disabled={leaving} onClick={() => void go()}>Sign out</button>;
}
