// Moving data for the mock server: records are sent, claimed 300 ms ahead, published by priority at a limited rate.

const TARGETS = ["orders", "payments", "mails", "invoices"];
const PRIORITIES = ["high", "standard", "standard", "low"];
const RANK = { high: 0, standard: 1, low: 2 };
const LEAD_MS = 300;
const PER_TICK = 2;
const HISTORY = 2000;

export class World {
  messages = new Map();
  listeners = new Set();
  history = [];
  letters = [];
  position = 0;
  serial = 4700;
  offset = 90000;

  constructor({ empty = false } = {}) {
    this.empty = empty;
    if (empty) return;
    const now = Date.now();
    for (let i = 0; i < 40; i += 1) this.add({ due_ms: now + 4000 + i * i * 700 });
    for (let i = 0; i < 25; i += 1) this.past(now - 5000 - i * 9000, i);
    this.letters = letters(now);
  }

  start() {
    if (this.empty) {
      this.timers = [setInterval(() => this.publish(), 100)];
      return;
    }
    let beat = 0;
    this.timers = [
      setInterval(() => this.publish(), 100),
      setInterval(() => {
        beat += 1;
        this.add({ due_ms: Date.now() + 3000 + Math.random() * 40000 });
        // A burst with one due time: more than can be published at once, so that high passes the others.
        if (beat % 14 === 3) {
          const due = Date.now() + 5000;
          for (let i = 0; i < 45; i += 1) this.add({ due_ms: due + i * 30 });
        }
      }, 900),
    ];
  }

  stop() {
    this.timers?.forEach(clearInterval);
  }

  add({ due_ms, id, target, priority, topic = "delayq.delayed" }) {
    const now = Date.now();
    this.serial += 1;
    const chosen = priority ?? PRIORITIES[this.serial % 4];
    const wait = due_ms - now;
    const name = target ?? TARGETS[this.serial % TARGETS.length];
    const message = {
      id: id ?? `${name.slice(0, -1)}-${this.serial}-timeout`, topic, state: "scheduled", source: `${topic}/${this.serial % 6}/${this.serial}`, appended_ms: now,
      revision: 1, due_ms: Math.round(due_ms), output_topic: `${name}.${chosen}`, priority: chosen, path: wait <= 2000 ? "direct" : wait < 900000 ? "short" : "long",
      expires_s: Math.round(due_ms / 1000) + 30 * 86400,
    };
    const old = this.messages.get(message.id);
    if (old) Object.assign(message, { revision: old.revision + 1, overlaps: old.state === "publishing" });
    return this.put(message);
  }

  past(at, i) {
    const message = this.add({ due_ms: at });
    message.appended_ms = at - 60000;
    if (i % 9 === 4) this.put({ ...message, state: "cancelled", cancelled_ms: at - 3000 });
    else if (i % 12 === 7) this.put({ ...message, state: "dead", dead_ms: at + 900, reason: "publish-failed" });
    else this.put(published({ ...message, claimed_ms: at - LEAD_MS, claimed_by: "emitter-7c9f" }, at + 3 + (i % 5) * 4, (this.offset += 1)));
  }

  put(message) {
    const latest = { ...message, revision: (this.messages.get(message.id)?.revision ?? 0) + 1 };
    this.messages.set(latest.id, latest);
    this.position += 1;
    const change = { position: String(this.position), at_ms: Date.now(), message: latest };
    this.history.push(change);
    if (this.history.length > HISTORY) this.history.shift();
    for (const tell of this.listeners) tell(change);
    return latest;
  }

  publish() {
    const now = Date.now();
    for (const m of this.messages.values()) {
      if (m.state === "scheduled" && m.due_ms - now <= LEAD_MS) {
        this.put({ ...m, state: "publishing", claimed_ms: now, claimed_until_ms: now + 30000, claimed_by: `emitter-${["7c9f", "b21d"][m.revision % 2]}` });
      }
    }
    const ready = [...this.messages.values()].filter((m) => m.state === "publishing" && m.due_ms <= now);
    ready.sort((a, b) => RANK[a.priority] - RANK[b.priority] || a.due_ms - b.due_ms);
    for (const m of ready.slice(0, PER_TICK)) this.put(published(m, Date.now(), (this.offset += 1)));
  }

  overview() {
    const counts = new Map();
    for (const m of this.messages.values()) counts.set(`${m.state} ${m.priority}`, (counts.get(`${m.state} ${m.priority}`) ?? 0) + 1);
    const some = (n) => (this.empty ? 0 : n);
    return {
      now_ms: Date.now(), ready: true,
      problems: this.empty ? [] : [{ component: "scheduler", reason: "shard 2: its watermark has not moved for 11 minutes" }],
      counts: [...counts].map(([key, count]) => ({ state: key.split(" ")[0], priority: key.split(" ")[1], count })),
      shards: this.empty ? [] : [0, 1, 2, 3].map((shard) => ({ shard, owner: shard === 3 ? null : `scheduler-${"abc"[shard]}41`, watermark_age_ms: shard === 2 ? 671000 : 40000 + shard * 61000, closing: shard === 0 ? 5917003 : null })),
      lateness: this.empty ? [] : [
        { priority: "high", p50_ms: 3, p99_ms: 14, max_ms: 22, count: 48210 },
        { priority: "standard", p50_ms: 6, p99_ms: 23, max_ms: 1840, count: 190551 },
        { priority: "low", p50_ms: 9, p99_ms: 2210, max_ms: 4102, count: 51877 },
      ],
      queues: ["high", "standard", "low"].map((p, i) => ({ name: `delayq-${p}`, messages: some([0, 12, 340][i]), in_flight: some([4, 31, 18][i]), delayed: some([120, 2210, 8804][i]) })),
    };
  }

  upcoming(ahead) {
    const bucket = ahead > 86400000 ? 6 * 3600000 : ahead > 3600000 ? 900000 : 60000;
    const from = Math.floor(Date.now() / bucket) * bucket;
    const buckets = Array.from({ length: this.empty ? 0 : ahead / bucket }, (_, i) => {
      const wave = 1 + Math.sin(i / 6) + (i === 24 ? 6 : 0);
      const of = (priority, n) => ({ output_topic: `orders.${priority}`, priority, count: Math.round(n * wave) });
      return { from_ms: from + i * bucket, counts: [of("high", 180), of("standard", 520 + (i % 7) * 30), of("low", 260)] };
    });
    return { from_ms: Date.now(), until_ms: Date.now() + ahead, bucket_ms: bucket, buckets, exact: ahead <= 3600000, unreadable: 0 };
  }
}

function published(m, at, offset) {
  const { claimed_until_ms: _, ...rest } = m;
  return { ...rest, state: "published", published_ms: at, partition: offset % 12, offset, late_ms: Math.max(0, at - m.due_ms) };
}

function letters(now) {
  const of = (at, ago, reason, detail, more) => ({ at, written_ms: now - ago, reason, detail, source: `delayq.delayed/${at}`, ...more });
  return [
    of("0/17", 95000, "target-not-allowed", '"ordres" is not an allowed target; allowed: orders, payments, mails; did you mean orders?', { target: "ordres", key: "order-4711", value: '{"order": 4711, "event": "timeout"}' }),
    of("0/18", 240000, "unknown-header", "\"delay-mss\" begins with delay- and is none of delayq's; did you mean delay-ms?", { target: "orders", key: "order-4699", value: '{"order": 4699}' }),
    of("1/9", 1900000, "publish-failed", "Kafka refused the record 3 times: UnknownTopicOrPartition", { output_topic: "invoices.standard", key: null, value: '{"invoice": "2024-0815", "total": 129.90}' }),
    of("2/3", 7400000, "due-too-far", "due in 12 d 4 h, and the maximum is 7 d (delays.max)", { target: "mails", key: "mail-1", value: "…" }),
    of("2/4", 86400000, "batch-checksum", "a message in delayq-standard is not what delayq wrote: CRC 1f00a9c2, expected 77e0b1d4", {}),
  ];
}
