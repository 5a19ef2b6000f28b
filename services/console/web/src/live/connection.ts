import type { LiveChange, LiveFrame } from "../api/types";
import { backoffMs } from "./backoff";
import type { LiveAction } from "./reducer";

export interface LinkOptions {
  url: string;
  token: () => string | null;
  dispatch: (action: LiveAction) => void;
  position: () => string | null;
  /** Asks the REST API whether the token is good: a refused WebSocket handshake does not say why. */
  probe: () => Promise<"ok" | "denied" | "down">;
}

/** Pings come every 15 s; three missed are a dead connection. */
const SILENCE_MS = 45_000;
/** Changes are applied together, so that a burst costs a few renders and not thousands. */
const FLUSH_MS = 120;
const TOO_SLOW = 4008;
/** The sign-in has expired. */
const SIGNED_OUT = 4001;

/** The WebSocket: connects, resumes after the last change seen, comes back by itself. */
export class LiveLink {
  private readonly options: LinkOptions;
  private socket: WebSocket | null = null;
  private pending: LiveChange[] = [];
  private flushTimer: number | undefined;
  private retryTimer: number | undefined;
  private silenceTimer: number | undefined;
  private attempt = 0;
  private stopped = true;

  constructor(options: LinkOptions) {
    this.options = options;
  }

  start(): void {
    this.stopped = false;
    this.connect();
  }

  stop(): void {
    this.stopped = true;
    this.drop();
  }

  /** At once, whatever the back-off: a button, a new token, or the network is back. */
  retryNow(): void {
    if (this.stopped || this.socket?.readyState === WebSocket.OPEN) return;
    this.connect();
  }

  private connect(): void {
    this.drop();
    const token = this.options.token();
    this.options.dispatch({ type: "connecting" });
    let socket: WebSocket;
    try {
      socket = token ? new WebSocket(this.options.url, ["delayq", `token.${token}`]) : new WebSocket(this.options.url);
    } catch {
      this.options.dispatch({ type: "denied", reason: "the token has characters that a WebSocket cannot carry" });
      return;
    }
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      const subscribe = { topic: null, target: null, priority: null, state: null, id: null };
      socket.send(JSON.stringify({ subscribe, after: this.options.position() }));
      this.listen(socket);
    };
    socket.onmessage = (event) => this.receive(socket, event.data);
    socket.onclose = (event) => void this.closed(socket, event, opened);
  }

  private receive(socket: WebSocket, data: unknown): void {
    if (socket !== this.socket) return;
    this.listen(socket);
    const frame = parse(data);
    if (!frame) return;
    const now = Date.now();
    if (frame.change) {
      this.pending.push(frame.change);
      this.flushTimer ??= window.setTimeout(() => this.flush(), FLUSH_MS);
    }
    if (frame.gap) {
      this.flush();
      this.attempt = 0;
      this.options.dispatch({ type: "gap", reason: frame.gap.reason });
    }
    if (frame.hello) {
      this.attempt = 0;
      this.options.dispatch({ type: "hello", position: frame.hello.position, serverNow: frame.hello.now_ms, now });
    }
    if (frame.ping !== undefined) this.options.dispatch({ type: "clock", serverNow: frame.ping, now });
  }

  private flush(): void {
    window.clearTimeout(this.flushTimer);
    this.flushTimer = undefined;
    if (this.pending.length === 0) return;
    const changes = this.pending;
    this.pending = [];
    this.options.dispatch({ type: "changes", changes, now: Date.now() });
  }

  private listen(socket: WebSocket): void {
    window.clearTimeout(this.silenceTimer);
    this.silenceTimer = window.setTimeout(() => socket.close(4000, "silence"), SILENCE_MS);
  }

  private async closed(socket: WebSocket, event: CloseEvent, opened: boolean): Promise<void> {
    if (socket !== this.socket || this.stopped) return;
    this.flush();
    this.drop();
    const verdict = opened && event.code !== SIGNED_OUT ? "ok" : await this.options.probe();
    if (this.stopped || this.socket) return;
    if (verdict === "denied") {
      this.options.dispatch({ type: "denied", reason: "sign in to see changes" });
      return;
    }
    this.attempt += 1;
    const waitMs = backoffMs(this.attempt, Math.random());
    this.retryTimer = window.setTimeout(() => this.connect(), waitMs);
    this.options.dispatch({ type: "waiting", retryAt: Date.now() + waitMs, attempt: this.attempt, reason: reasonOf(event, opened) });
  }

  private drop(): void {
    window.clearTimeout(this.retryTimer);
    window.clearTimeout(this.silenceTimer);
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onclose = null;
      socket.close();
    }
  }
}

function reasonOf(event: CloseEvent, opened: boolean): string {
  if (event.code === TOO_SLOW) return "this browser read too slowly";
  if (event.reason) return event.reason;
  return opened ? "the connection broke" : "delayq does not answer";
}

function parse(data: unknown): LiveFrame | null {
  try {
    return typeof data === "string" ? (JSON.parse(data) as LiveFrame) : null;
  } catch {
    return null;
  }
}
