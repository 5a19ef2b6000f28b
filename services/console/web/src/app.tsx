import { useEffect, useRef, useState } from "react";
import { href, type Route, type Screen } from "./route/route";
import { useRoute } from "./route/use-route";
import { useTheme } from "./session/theme";
import { DeadLettersScreen } from "./screens/dead-letters";
import { LiveScreen } from "./screens/live";
import { MessageScreen } from "./screens/message";
import { OverviewScreen } from "./screens/overview";
import { SendScreen } from "./screens/send";
import { ConnectionBadge, ConnectionNotice } from "./ui/connection-badge";
import { SignOut } from "./ui/sign-out";

const TABS: { screen: Exclude<Screen, "message">; name: string }[] = [
  { screen: "live", name: "Live" },
  { screen: "overview", name: "Overview" },
  { screen: "send", name: "Send" },
  { screen: "dead-letters", name: "Dead letters" },
];

export function App() {
  const route = useRoute();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const place = `${route.screen}/${route.topic ?? ""}/${route.id ?? ""}`;

  useEffect(() => {
    document.title = `${titleOf(route)} – delayq`;
    // A new screen begins at its heading, for eyes and for screen readers; the first one leaves the focus alone.
    if (!first.current) {
      main.current?.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    first.current = false;
  }, [place]);

  return (
    <>
      <a className="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>Skip to content</a>
      <header className="top">
        <a className="brand" href={href("live")}>
          <img src="./icon.svg" alt="" width="28" height="28" />
          <span>delayq</span>
        </a>
        <nav aria-label="Screens">
          {TABS.map(({ screen, name }) => {
            const here = route.screen === screen || (screen === "live" && route.screen === "message");
            return <a key={screen} href={href(screen)} aria-current={here ? "page" : undefined}>{name}</a>;
          })}
        </nav>
        <div className="top-end">
          <ConnectionBadge />
          <SignOut />
          <ThemeButton />
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <ConnectionNotice />
        <CurrentScreen route={route} place={place} />
      </main>
    </>
  );
}

function CurrentScreen({ route, place }: { route: Route; place: string }) {
  switch (route.screen) {
    case "live":
      return <LiveScreen query={route.query} />;
    case "message":
      return <MessageScreen key={place} topic={route.topic ?? ""} id={route.id ?? ""} />;
    case "overview":
      return <OverviewScreen />;
    case "send":
      return <SendScreen />;
    case "dead-letters":
      return <DeadLettersScreen />;
  }
}

function titleOf(route: Route): string {
  if (route.screen === "message") return route.id ?? "";
  return TABS.find((tab) => tab.screen === route.screen)?.name ?? "";
}

function ThemeButton() {
  const [theme, next] = useTheme();
  const [told, setTold] = useState("");
  const sign = theme === "light" ? "☀" : theme === "dark" ? "☾" : "◐";
  return (
    <>
      <button type="button" className="icon" title={`Theme: ${theme}`} aria-label={`Theme: ${theme}. Change it`} onClick={() => { next(); setTold("Theme changed"); }}>
        <span aria-hidden="true">{sign}</span>
      </button>
      <span className="visually-hidden" role="status">{told}</span>
    </>
  );
}
