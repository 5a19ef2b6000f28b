/** The token lives for the tab's session only. */
const KEY = "delayq.token";

export function readToken(): string | null {
  return storage()?.getItem(KEY) ?? null;
}

export function writeToken(token: string | null): void {
  if (token) storage()?.setItem(KEY, token);
  else storage()?.removeItem(KEY);
}

/** A token travels as a WebSocket sub-protocol, too, and those take only the characters of an HTTP token. */
export function fitsProtocol(token: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(token);
}

function storage(): Storage | null {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
}
