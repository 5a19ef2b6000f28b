import { useEffect, useState } from "react";

/** The last announcement, for some seconds; read out politely. */
export function Toast({ text, count }: { text: string; count: number }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (count === 0) return;
    setShown(true);
    const timer = window.setTimeout(() => setShown(false), 6000);
    return () => window.clearTimeout(timer);
  }, [count]);
  return <div className={shown ? "toast toast-shown" : "toast"} role="status" aria-live="polite">{shown ? text : ""}</div>;
}
