import { StrictMode, useEffect, useMemo, useState } from "react";
import { createRoot, type Root as ReactRoot } from "react-dom/client";
import { ApiClient } from "./api/client";
import { ApiError } from "./api/error";
import { App } from "./app";
import { LiveLink } from "./live/connection";
import { LiveStore } from "./live/store";
import { ConsoleContext } from "./session/console";
import { applyTheme, readTheme } from "./session/theme";
import { arrive } from "./session/sign-on";
import { readToken, writeToken } from "./session/token";
import { Loading } from "./ui/notice";
import { SignIn, type Asked } from "./ui/sign-in";
import { Toast } from "./ui/toast";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/layout.css";
import "./styles/screens.css";
import "./styles/charts.css";

const BASE = new URL("./", document.baseURI);

function liveUrl(): string {
  const url = new URL("v1/live", BASE);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** Wires client, store and connection together, and asks who it is when the API does. */
function Root({ failed }: { failed: string | null }) {
  const [asked, setAsked] = useState<Asked | null>(failed === null ? null : { failed });
  const [session, setSession] = useState(0);
  const [said, setSaid] = useState({ text: "", count: 0 });

  const parts = useMemo(() => {
    const store = new LiveStore();
    const client = new ApiClient({ base: BASE.href, token: readToken, onUnauthorized: (refused) => setAsked((now) => now ?? { refused }), onNoRole: (noRole) => setAsked((now) => now ?? { noRole }) });
    const probe = () => client.overview().then(
      () => "ok" as const,
      (error: unknown) => (error instanceof ApiError && (error.status === 401 || error.status === 403) ? ("denied" as const) : ("down" as const)),
    );
    const link = new LiveLink({ url: liveUrl(), token: readToken, dispatch: store.dispatch, position: () => store.get().position, probe });
    return { store, client, link, access: () => client.access() };
  }, []);

  useEffect(() => {
    const back = () => parts.link.retryNow();
    parts.link.start();
    window.addEventListener("online", back);
    return () => {
      window.removeEventListener("online", back);
      parts.link.stop();
    };
  }, [parts]);

  const value = useMemo(() => ({
    client: parts.client,
    store: parts.store,
    retryNow: () => parts.link.retryNow(),
    announce: (text: string) => setSaid((old) => ({ text, count: old.count + 1 })),
    session,
  }), [parts, session]);

  const onToken = (token: string) => {
    writeToken(token);
    setAsked(null);
    setSession((n) => n + 1);
    parts.link.retryNow();
  };

  return (
    <ConsoleContext value={value}>
      <App />
      <Toast text={said.text} count={said.count} />
      {asked && <SignIn asked={asked} load={parts.access} redirectUri={BASE.href} onToken={onToken} onClose={asked.failed && readToken() !== null ? () => setAsked(null) : undefined} />}
    </ConsoleContext>
  );
}

applyTheme(readTheme());
const element = document.getElementById("root");
if (element) void begin(createRoot(element));

/** The page, once it is known whether the browser comes back from the issuer, and as whom. */
async function begin(root: ReactRoot): Promise<void> {
  const arriving = arrive(window.location.search, BASE.href);
  // Code and state are good for one try, and nothing to be seen or kept in the history.
  if (window.location.search) {
    window.history.replaceState(null, "", BASE.href + window.location.hash);
    root.render(<main><Loading what="who you are" /></main>);
  }
  const arrival = await arriving;
  if (arrival.kind === "signed-in") writeToken(arrival.token);
  if (arrival.kind !== "none" && arrival.hash) window.history.replaceState(null, "", BASE.href + arrival.hash);
  root.render(<StrictMode><Root failed={arrival.kind === "failed" ? arrival.why : null} /></StrictMode>);
}
