import { useState } from "react";

export type Theme = "system" | "light" | "dark";
const KEY = "delayq.theme";

export function readTheme(): Theme {
  try {
    const stored = window.localStorage.getItem(KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

/** The theme and how to go on to the next: system → light → dark. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(readTheme);
  const next = () => {
    const chosen: Theme = theme === "system" ? "light" : theme === "light" ? "dark" : "system";
    setTheme(chosen);
    applyTheme(chosen);
    try {
      window.localStorage.setItem(KEY, chosen);
    } catch {
      // Not remembered: storage is off.
    }
  };
  return [theme, next];
}
