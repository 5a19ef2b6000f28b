/** What the authorization code flow needs of cryptography (RFC 7636, OpenID Connect Core 3.1). */

const VERIFIER_BYTES = 32;

/** Text nobody can guess, of characters that any address may hold. */
export function randomText(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(VERIFIER_BYTES)));
}

/** S256 of a verifier. Browsers have it over https and on this machine only. */
export async function challengeOf(verifier: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  return base64url(new Uint8Array(digest));
}

export function canChallenge(): boolean {
  return typeof crypto !== "undefined" && crypto.subtle !== undefined;
}

/** What a token says. The server checks it; here it is only read: for a name to show, and the nonce. */
export function claimsOf(token: string | null): Record<string, unknown> | null {
  const part = token?.split(".");
  if (part?.length !== 3 || part[1] === undefined) return null;
  try {
    const bytes = Uint8Array.from(atob(part[1].replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
