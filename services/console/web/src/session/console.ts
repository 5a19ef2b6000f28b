import { createContext, useContext, useSyncExternalStore } from "react";
import type { ApiClient } from "../api/client";
import type { LiveState } from "../live/reducer";
import type { LiveStore } from "../live/store";

export interface Console {
  client: ApiClient;
  store: LiveStore;
  retryNow: () => void;
  /** Says something to everyone: a line at the bottom, read out by screen readers. */
  announce: (text: string) => void;
  /** Rises with each new token, so that screens ask again. */
  session: number;
}

export const ConsoleContext = createContext<Console | null>(null);

export function useConsole(): Console {
  const value = useContext(ConsoleContext);
  if (!value) throw new Error("outside the console");
  return value;
}

export function useLive(): LiveState {
  const { store } = useConsole();
  return useSyncExternalStore(store.subscribe, store.get);
}
