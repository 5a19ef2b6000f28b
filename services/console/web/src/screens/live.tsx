import { useEffect, useMemo, useRef, useState } from "react";
import type { Message } from "../api/types";
import { count } from "../format/time";
import { arrange, isFiltered, noFilter, type Filter } from "../live/filter";
import { href, messageHref } from "../route/route";
import { replaceHash } from "../route/use-route";
import { useConsole, useLive } from "../session/console";
import { useLoad } from "../session/use-load";
import { Empty, ErrorNotice, Loading } from "../ui/notice";
import { FirstRecord } from "./first-record";
import { LiveFilters } from "./live-filters";
import { LiveTable } from "./live-table";

/** How far back the list begins, by due time: the API lists earliest first, and 30 days of ended records come before what is due. */
export const WINDOWS: Record<string, number> = { "15m": 15 * 60_000, "1h": 3_600_000, "1d": 86_400_000, "7d": 7 * 86_400_000, all: Number.POSITIVE_INFINITY };
const PAGE = 200;

export function LiveScreen({ query }: { query: Record<string, string> }) {
  const filter = useMemo((): Filter => ({ ...noFilter, ...pick(query) }), [query]);
  const since = query["since"] && WINDOWS[query["since"]] ? query["since"] : "15m";
  const live = useLive();
  const shown = live.messages;
  const { open, ended } = useMemo(() => arrange(shown.values(), filter), [shown, filter]);
  const targets = useMemo(() => distinct(shown.values(), (m) => m.output_topic), [shown]);
  const topics = useMemo(() => distinct(shown.values(), (m) => m.topic), [shown]);
  const listing = useListing(filter, since, targets);

  const change = (next: Partial<Filter> & { since?: string }) => replaceHash(href("live", { ...query, ...next }));
  const total = open.length + ended.length;

  return (
    <div className="screen">
      <div className="title">
        <h1 tabIndex={-1}>Live</h1>
        <p className="quiet" role="status">{count(open.length)} to come, {count(ended.length)} ended{live.gap ? "; listing again after a gap" : ""}</p>
      </div>
      <LiveFilters filter={filter} since={since} topics={topics} targets={targets} onChange={change} />
      {listing.error && <ErrorNotice error={listing.error} onRetry={listing.reload} />}
      {total === 0 && listing.loading && <Loading what="messages" />}
      {total === 0 && !listing.loading && !listing.error && (isFiltered(filter) ? <NoMatch filter={filter} topics={topics} /> : <FirstRecord />)}
      {open.length > 0 && <LiveTable name="To come, earliest first" time="Due" messages={open} changed={live.changed} />}
      {ended.length > 0 && <LiveTable name="Ended, latest first" time="Ended" messages={ended} changed={live.changed} />}
      {listing.next && (
        <div className="more"><button type="button" disabled={listing.loading} onClick={listing.more}>Load the next {PAGE}</button></div>
      )}
    </div>
  );
}

function NoMatch({ filter, topics }: { filter: Filter; topics: string[] }) {
  const topic = filter.topic || topics[0] || "";
  return (
    <Empty title="Nothing matches">
      <p>No tracked message within this window passes the filters.</p>
      <div className="actions">
        {filter.text && <a className="button" href={messageHref(topic, filter.text)}>Look up the id “{filter.text}”</a>}
        <a className="button" href={href("live")}>Clear the filters</a>
      </div>
    </Empty>
  );
}

/** Lists what the filters ask for into the store; what is live comes on top. */
function useListing(filter: Filter, since: string, targets: string[]) {
  const { client, store, session } = useConsole();
  const { listing } = useLive();
  const [next, setNext] = useState<string | null>(null);
  const [moreBusy, setMoreBusy] = useState(false);
  // The API knows whole output topics only; part of one is filtered here.
  const target = targets.includes(filter.target) ? filter.target : "";
  const query = { topic: filter.topic, state: filter.state, priority: filter.priority, target };
  const key = JSON.stringify([query, since, listing, session]);
  const keyNow = useRef(key);
  keyNow.current = key;
  const window_ms = WINDOWS[since] ?? 0;

  const fetchPage = (after: string | undefined, signal?: AbortSignal) => {
    const now = Date.now() + store.get().clockOffsetMs;
    const from = Number.isFinite(window_ms) ? { due_from_ms: now - window_ms } : {};
    return client.messages({ ...query, ...from, limit: PAGE, ...(after ? { after } : {}) }, signal);
  };

  const first = useLoad(key, async (signal) => {
    const page = await fetchPage(undefined, signal);
    store.dispatch({ type: "listed", messages: page.messages });
    return page;
  });
  useEffect(() => setNext(first.data?.next ?? null), [first.data]);

  const more = () => {
    if (!next) return;
    setMoreBusy(true);
    fetchPage(next)
      .then((page) => {
        store.dispatch({ type: "listed", messages: page.messages });
        if (keyNow.current === key) setNext(page.next);
      }, () => undefined)
      .finally(() => setMoreBusy(false));
  };

  return { error: first.error, loading: first.loading || moreBusy, reload: first.reload, next, more };
}

function pick(query: Record<string, string>): Partial<Filter> {
  const picked: Partial<Filter> = {};
  for (const name of Object.keys(noFilter) as (keyof Filter)[]) {
    if (query[name]) picked[name] = query[name];
  }
  return picked;
}

function distinct(messages: Iterable<Message>, of: (message: Message) => string | undefined): string[] {
  const values = new Set<string>();
  for (const message of messages) {
    const value = of(message);
    if (value) values.add(value);
  }
  return [...values].sort();
}
