import { StrictMode, useEffect, useMemo, useState } from "react";
import { createRoot } from "react-dom/client";
import { ApiClient } from "./api/client";
import { ApiError } from "./api/error";
import { App } from "./app";
import { LiveLink } from "./live/connection";
import { LiveStore } from "./live/store";
import { ConsoleContext } from "./session/console";
import { applyTheme, readTheme } from "./session/theme";
import { readToken, writeToken } from "./session/token";
import { SignIn } from "./ui/sign-in";
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

/** Wires client, store and connection together, and asks for a token when the API does. */
function Root() {
  const [asked, setAsked] = useState<{ refused: boolean } | null>(null);
  const [session, setSession] = useState(0);
  const [said, setSaid] = useState({ text: "", count: 0 });

  const parts = useMemo(() => {
    const store = new LiveStore();
    const client = new ApiClient({ base: BASE.href, token: readToken, onUnauthorized: (refused) => setAsked((now) => now ?? { refused }) });
    const probe = () => client.overview().then(
      () => "ok" as const,
      (error: unknown) => (error instanceof ApiError && error.status === 401 ? ("denied" as const) : ("down" as const)),
    );
    const link = new LiveLink({ url: liveUrl(), token: readToken, dispatch: store.dispatch, position: () => store.get().position, probe });
    return { store, client, link };
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
      {asked && <SignIn refused={asked.refused} onToken={onToken} />}
    </ConsoleContext>
  );
}

applyTheme(readTheme());
const root = document.getElementById("root");
if (root) createRoot(root).render(<StrictMode><Root /></StrictMode>);
