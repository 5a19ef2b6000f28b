import { useSyncExternalStore } from "react";
import { useConsole } from "./console";

const listeners = new Set<() => void>();
let timer: number | undefined;

/** One timer for all clocks on the page. */
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= window.setInterval(() => listeners.forEach((tell) => tell()), 250);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    window.clearInterval(timer);
    timer = undefined;
  };
}

/** The browser's clock, in steps. */
export function useOwnNow(stepMs: number): number {
  return useSyncExternalStore(subscribe, () => Math.floor(Date.now() / stepMs) * stepMs);
}

/** delayq's clock, in steps: countdowns are right though the browser's clock is not. */
export function useNow(stepMs: number): number {
  const { store } = useConsole();
  return useSyncExternalStore(subscribe, () => Math.floor((Date.now() + store.get().clockOffsetMs) / stepMs) * stepMs);
}
