/** The shapes of docs/api.md. Times are milliseconds since 1970 (UTC). */

export const STATES = ["scheduled", "publishing", "published", "cancelled", "dead"] as const;
export type MessageState = (typeof STATES)[number];

export const PRIORITIES = ["high", "standard", "low"] as const;
export type Priority = (typeof PRIORITIES)[number];

export type Path = "direct" | "short" | "long";

export interface Message {
  id: string;
  topic: string;
  state: MessageState;
  source: string;
  appended_ms: number;
  revision: number;
  due_ms?: number;
  output_topic?: string;
  priority?: Priority;
  path?: Path;
  claimed_ms?: number;
  claimed_until_ms?: number;
  claimed_by?: string;
  published_ms?: number;
  partition?: number;
  offset?: number;
  late_ms?: number;
  cancelled_ms?: number;
  dead_ms?: number;
  reason?: string;
  overlaps?: boolean;
  expires_s?: number;
}

export interface MessageQuery {
  topic?: string;
  state?: string;
  target?: string;
  priority?: string;
  due_from_ms?: number;
  due_to_ms?: number;
  limit?: number;
  after?: string;
}

export interface MessagePage {
  messages: Message[];
  next: string | null;
}

export interface NewRecord {
  target: string;
  value: string;
  key?: string;
  id?: string;
  priority?: Priority;
  delay_ms?: number;
  deliver_at?: string;
  deliver_at_ms?: number;
  headers?: [string, string][];
  topic?: string;
}

export interface Accepted {
  source: string;
  due_ms: number;
  output_topic: string;
  id?: string;
}

export type CancelAnswer = "cancelled" | "published" | "too_late" | "dead" | "unknown";
export interface CancelResult {
  answer: CancelAnswer;
  message?: Message;
}

export type RescheduleAnswer = "rescheduled" | "too_late" | "superseded";
export interface RescheduleResult {
  answer: RescheduleAnswer;
  message?: Message;
}
export type NewDue = { delay_ms: number } | { deliver_at_ms: number };

export interface BucketCount {
  output_topic: string;
  priority: Priority;
  count: number;
}
export interface Upcoming {
  from_ms: number;
  until_ms: number;
  bucket_ms: number;
  buckets: { from_ms: number; counts: BucketCount[] }[];
  exact: boolean;
  unreadable: number;
}

export interface Shard {
  shard: number;
  owner: string | null;
  watermark_age_ms: number | null;
  closing: number | string | boolean | null;
}
export interface Lateness {
  priority: Priority;
  p50_ms: number;
  p99_ms: number;
  max_ms: number;
  count: number;
}
export interface Queue {
  name: string;
  messages: number;
  in_flight: number;
  delayed: number;
}
export interface Overview {
  now_ms: number;
  ready: boolean;
  problems: { component: string; reason: string }[];
  counts: { state: MessageState; priority: Priority | null; count: number }[];
  shards: Shard[];
  lateness: Lateness[];
  queues: Queue[];
}

export interface DeadLetter {
  at: string;
  written_ms: number;
  reason: string;
  detail: string;
  source?: string;
  target?: string;
  output_topic?: string;
  key?: string | null;
  value?: string | null;
}
export interface DeadLetterPage {
  letters: DeadLetter[];
  next: string | null;
}
export interface RedriveResult {
  at: string;
  outcome: "sent" | "refused";
  detail?: string;
}

/** What the server says on /v1/live: one of these keys a frame. */
export interface LiveFrame {
  hello?: { position: string; now_ms: number };
  change?: LiveChange;
  gap?: { reason: string };
  ping?: number;
}
export interface LiveChange {
  position: string;
  at_ms: number;
  message: Message;
}

/** Where people sign in: by authorization code with PKCE, as a public client. */
export interface OidcOffer {
  issuer: string;
  client_id: string;
  scopes: string[];
  /** Which of the issuer's tokens the API takes. */
  token: "id_token" | "access_token";
  authorization_endpoint?: string;
  token_endpoint?: string;
  end_session_endpoint?: string;
  /** Why nobody can sign in now. */
  problem?: string;
}

/** How one gets in; told to everybody. */
export interface AccessOffer {
  asks: boolean;
  tokens: boolean;
  /** A load balancer signs people in: the page needs no token. */
  load_balancer: boolean;
  oidc: OidcOffer | null;
}
