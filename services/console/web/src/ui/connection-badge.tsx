import { useConsole, useLive } from "../session/console";
import { useOwnNow } from "../session/use-now";

/** Always visible: whether what is shown is live. */
export function ConnectionBadge() {
  const { retryNow } = useConsole();
  const { connection, gap } = useLive();
  const now = useOwnNow(1000);
  if (connection.phase === "waiting") {
    const seconds = Math.max(0, Math.ceil((connection.retryAt - now) / 1000));
    return (
      <div className="connection connection-waiting">
        <span className="dot" aria-hidden="true" />
        <span role="status" title={connection.reason}>Reconnecting<span aria-hidden="true"> in {seconds} s</span></span>
        <button type="button" className="link" onClick={retryNow}>now</button>
      </div>
    );
  }
  const [kind, text] =
    connection.phase === "denied" ? ["denied", "Signed out"]
    : connection.phase === "connecting" ? ["connecting", "Connecting…"]
    : gap ? ["connecting", "Listing again…"]
    : ["connected", "Live"];
  return (
    <div className={`connection connection-${kind}`}>
      <span className="dot" aria-hidden="true" />
      <span role="status" title={connection.phase === "denied" ? connection.reason : undefined}>{text}</span>
    </div>
  );
}

/** Below the header while changes do not come in. */
export function ConnectionNotice() {
  const { connection } = useLive();
  if (connection.phase !== "waiting") return null;
  return (
    <div className="notice notice-warn" aria-hidden="true">
      <div>Not live: {connection.reason}. What you see may be out of date; the console goes on from the last change as soon as it can (try {connection.attempt}).</div>
    </div>
  );
}
