import type { ReactNode } from "react";
import type { ApiError } from "../api/error";

export function ErrorNotice({ error, onRetry }: { error: ApiError; onRetry?: () => void }) {
  return (
    <div className="notice notice-bad" role="alert">
      <div>
        <strong>{error.message}</strong>
        <p className="quiet">
          <code>{error.code}</code>
          {error.unavailable && " – nothing is known of what was asked, and asking again is safe"}
        </p>
      </div>
      {onRetry && <button type="button" onClick={onRetry}>Try again</button>}
    </div>
  );
}

export function Notice({ kind = "plain", children }: { kind?: "plain" | "good" | "warn" | "bad"; children: ReactNode }) {
  return <div className={`notice notice-${kind}`} role="status"><div>{children}</div></div>;
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div className="loading" role="status">
      <span className="visually-hidden">Loading {what}…</span>
      <div className="bone" /><div className="bone" /><div className="bone" />
    </div>
  );
}
