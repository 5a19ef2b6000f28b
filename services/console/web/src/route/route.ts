/** Hash routing: `#/message/orders.delay/order-4711`, `#/live?state=scheduled`. */

export type Screen = "live" | "message" | "overview" | "send" | "dead-letters";

export interface Route {
  screen: Screen;
  topic?: string;
  id?: string;
  query: Record<string, string>;
}

export function parseRoute(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const query = Object.fromEntries(new URLSearchParams(search));
  const [screen = "", ...rest] = path.split("/");
  if (screen === "message" && rest.length >= 2) {
    return { screen, topic: decode(rest[0] ?? ""), id: decode(rest.slice(1).join("/")), query };
  }
  if (screen === "overview" || screen === "send" || screen === "dead-letters") return { screen, query };
  return { screen: "live", query };
}

export function messageHref(topic: string, id: string): string {
  return `#/message/${encodeURIComponent(topic)}/${encodeURIComponent(id)}`;
}

export function href(screen: Exclude<Screen, "message">, query: Record<string, string> = {}): string {
  const filled = Object.entries(query).filter(([, value]) => value !== "");
  const text = new URLSearchParams(filled).toString();
  return `#/${screen}${text ? `?${text}` : ""}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
