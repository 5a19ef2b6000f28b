import type { OidcOffer } from "../api/types";
import { canChallenge, challengeOf, claimsOf, randomText } from "./pkce";
import { fitsProtocol } from "./token";

/** A sign-in that was begun here, until the issuer sends the browser back. Like the token, for the tab's session only. */
const KEY = "delayq.sign-in";
const TOKEN_WITHIN_MS = 15_000;

interface Begun {
  state: string;
  verifier: string;
  nonce: string;
  /** The screen to come back to. */
  hash: string;
  issuer: string;
  client_id: string;
  token: OidcOffer["token"];
  token_endpoint: string;
}

export type Arrival =
  | { kind: "none" }
  | { kind: "signed-in"; token: string; hash: string }
  | { kind: "failed"; why: string; hash: string };

/** A sign-in that cannot go on, in words for whoever signs in. */
export class SignOnError extends Error {}

/** The address at the issuer where somebody signs in. Notes what is needed to believe the answer. */
export async function beginSignOn(offer: OidcOffer, redirectUri: string, hash: string, again = false): Promise<string> {
  if (!offer.authorization_endpoint || !offer.token_endpoint) throw new SignOnError(offer.problem ?? "The issuer does not say where one signs in.");
  if (!canChallenge()) throw new SignOnError("Browsers sign in over https only: open the console by its https address.");
  const begun: Begun = {
    state: randomText(), verifier: randomText(), nonce: randomText(), hash,
    issuer: offer.issuer, client_id: offer.client_id, token: offer.token, token_endpoint: offer.token_endpoint,
  };
  const url = new URL(offer.authorization_endpoint);
  const query: Record<string, string> = {
    response_type: "code", client_id: offer.client_id, redirect_uri: redirectUri, scope: offer.scopes.join(" "),
    state: begun.state, nonce: begun.nonce, code_challenge: await challengeOf(begun.verifier), code_challenge_method: "S256",
  };
  // Somebody who has no role would else come back as the same person.
  if (again) query["prompt"] = "login";
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  try {
    window.sessionStorage.setItem(KEY, JSON.stringify(begun));
  } catch {
    throw new SignOnError("This browser keeps nothing for this page, and so cannot sign in: allow it to store data.");
  }
  return url.href;
}

/** Whether the browser comes back from the issuer: then with what. `search`: the part of the address after the question mark. */
export async function arrive(search: string, redirectUri: string): Promise<Arrival> {
  const query = new URLSearchParams(search);
  if (!query.has("code") && !query.has("error")) return { kind: "none" };
  const begun = takeBegun();
  const hash = begun?.hash ?? "";
  const failed = (why: string): Arrival => ({ kind: "failed", why, hash });
  // Whoever can lead a browser here must not be able to sign it in as somebody, or to say something in our name.
  if (!begun || query.get("state") !== begun.state) return failed("This sign-in was not begun in this tab, or was begun twice. Sign in once more.");
  // RFC 9207: an answer that names another issuer is not the answer to our question.
  const by = query.get("iss");
  if (by !== null && by !== begun.issuer) return failed("The answer comes from another issuer. Sign in once more.");
  const error = query.get("error");
  if (error !== null) return failed(refusal(error, query.get("error_description")));
  try {
    return { kind: "signed-in", token: await exchange(begun, query.get("code") ?? "", redirectUri), hash };
  } catch (caught) {
    return failed(caught instanceof SignOnError ? caught.message : String(caught));
  }
}

/** Gives the code for a token. */
async function exchange(begun: Begun, code: string, redirectUri: string): Promise<string> {
  const body = new URLSearchParams({ grant_type: "authorization_code", code, redirect_uri: redirectUri, client_id: begun.client_id, code_verifier: begun.verifier });
  let response: Response;
  try {
    response = await fetch(begun.token_endpoint, { method: "POST", body, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(TOKEN_WITHIN_MS) });
  } catch {
    throw new SignOnError(`${new URL(begun.token_endpoint).host} does not answer, or does not let this page ask for a token: its client must be public, with ${new URL(redirectUri).origin} as an allowed origin.`);
  }
  const answer = (await response.json().catch(() => null)) as Record<string, unknown> | null;
  if (!response.ok) throw new SignOnError(refusal(textOf(answer?.["error"]) ?? `status ${response.status}`, textOf(answer?.["error_description"])));
  const token = textOf(answer?.[begun.token]);
  if (token === null || !fitsProtocol(token)) throw new SignOnError(`The issuer gave no ${begun.token.replace("_", " ")}.`);
  if (begun.token === "id_token" && claimsOf(token)?.["nonce"] !== begun.nonce) throw new SignOnError("The issuer's token answers another sign-in. Sign in once more.");
  return token;
}

/** Where somebody signs out at the issuer, too; `null`: nowhere. */
export function signOutUrl(offer: OidcOffer | null, redirectUri: string): string | null {
  if (!offer?.end_session_endpoint) return null;
  const url = new URL(offer.end_session_endpoint);
  url.searchParams.set("client_id", offer.client_id);
  url.searchParams.set("post_logout_redirect_uri", redirectUri);
  return url.href;
}

/** Who a token of the issuer is; `null` for any other token. */
export function nameOf(token: string | null): string | null {
  const claims = claimsOf(token);
  return textOf(claims?.["email"]) ?? textOf(claims?.["preferred_username"]) ?? textOf(claims?.["sub"]);
}

function refusal(error: string, description: string | null): string {
  if (error === "access_denied") return `The issuer did not let you in${description ? `: ${description}` : "."}`;
  return `The issuer refused the sign-in: ${description ? `${description} (${error})` : error}`;
}

/** What was begun, once: a code is good for one try. */
function takeBegun(): Begun | null {
  try {
    const text = window.sessionStorage.getItem(KEY);
    window.sessionStorage.removeItem(KEY);
    return text ? (JSON.parse(text) as Begun) : null;
  } catch {
    return null;
  }
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
