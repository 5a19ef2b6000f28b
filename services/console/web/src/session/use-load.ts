import { useCallback, useEffect, useRef, useState } from "react";
import { asApiError, type ApiError } from "../api/error";

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  loading: boolean;
  reload: () => void;
}

/** Loads once, whenever `key` changes, and every `everyMs` while the page is seen. What was loaded stays when a later try fails. */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, everyMs?: number): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: ApiError | null; loading: boolean }>({ data: null, error: null, loading: true });
  const [round, setRound] = useState(0);
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    const aborter = new AbortController();
    let timer: number | undefined;
    const run = () => {
      setState((old) => ({ ...old, loading: true }));
      latest.current(aborter.signal).then(
        (data) => done({ data, error: null, loading: false }),
        (error: unknown) => done((old) => ({ data: old.data, error: asApiError(error), loading: false })),
      );
    };
    const done = (next: Parameters<typeof setState>[0]) => {
      if (aborter.signal.aborted) return;
      setState(next);
      if (everyMs) timer = window.setTimeout(again, everyMs);
    };
    const again = () => (document.hidden ? (timer = window.setTimeout(again, 1000)) : run());
    run();
    return () => {
      aborter.abort();
      window.clearTimeout(timer);
    };
  }, [key, round, everyMs]);

  const reload = useCallback(() => setRound((n) => n + 1), []);
  return { ...state, reload };
}
