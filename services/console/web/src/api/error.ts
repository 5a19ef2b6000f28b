/** A refusal or failure, as the console shows it. `status` 0: no answer came at all. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }

  /** Nothing is known of what was asked, and asking again is safe. */
  get unavailable(): boolean {
    return this.status === 0 || this.status === 503;
  }
}

/** Reads `{"error": {"code", "message"}}`; whatever else a proxy may answer becomes a readable error, too. */
export function errorOf(status: number, body: unknown): ApiError {
  const error = (body as { error?: { code?: unknown; message?: unknown } } | null)?.error;
  const code = typeof error?.code === "string" ? error.code : `http-${status}`;
  const message = typeof error?.message === "string" ? error.message : fallback(status);
  return new ApiError(status, code, message);
}

function fallback(status: number): string {
  if (status === 401) return "A token is needed.";
  if (status === 403) return "Your role may not do this.";
  if (status === 404) return "There is no such thing.";
  if (status === 503) return "Kafka or a store does not answer. Nothing is known of what was asked; asking again is safe.";
  return `The server answered ${status} without saying why.`;
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(0, "no-answer", error instanceof Error ? error.message : String(error));
}
