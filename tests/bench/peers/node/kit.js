// What the drivers in Node share: options, plans, bodies, logs, and the words between harness and driver. See README.md, "Drivers".

import { readFileSync, openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const PLAN_ROW_BYTES = 8;
const EVENT_ROW_BYTES = 12;
const FLUSH_EVERY_MS = 50;

/** Role and options of the command line, which are `key=value`. */
export function commandLine() {
  const [role, ...rest] = process.argv.slice(2);
  const options = Object.fromEntries(rest.map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)]));
  return { role, options };
}

/** Record n: when it is sent and when it is due, ms after the start. */
export class Plan {
  constructor(path) {
    this.rows = readFileSync(path);
    this.length = this.rows.length / PLAN_ROW_BYTES;
  }

  sendMs(n) {
    return this.rows.readUInt32LE(n * PLAN_ROW_BYTES);
  }

  dueMs(n) {
    return this.rows.readUInt32LE(n * PLAN_ROW_BYTES + 4);
  }
}

/** One body a line. */
export function readBodies(path) {
  return readFileSync(path, "utf8").trimEnd().split("\n");
}

/** Rows of (record, wall clock in ms), as harness/rows.py reads them. */
export class EventLog {
  #file;
  #rows = [];

  constructor(path) {
    this.#file = openSync(path, "w");
    setInterval(() => this.flush(), FLUSH_EVERY_MS).unref();
  }

  add(n, atMs) {
    this.#rows.push(n, atMs);
  }

  flush() {
    const rows = this.#rows;
    this.#rows = [];
    const bytes = Buffer.allocUnsafe((rows.length / 2) * EVENT_ROW_BYTES);
    for (let i = 0, at = 0; i < rows.length; i += 2, at += EVENT_ROW_BYTES) {
      bytes.writeUInt32LE(rows[i], at);
      bytes.writeBigUInt64LE(BigInt(rows[i + 1]), at + 4);
    }
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(this.#file, bytes, at);
    }
  }
}

/** Counts refusals, and remembers the first. */
export class Refusals {
  count = 0;
  first = undefined;

  add(records, error) {
    this.count += records;
    this.first ??= String(error?.message ?? error);
  }
}

let started;
const startGiven = new Promise((resolve) => (started = resolve));
let ended;
/** Resolves at the end of the input: time to finish. */
export const endOfInput = new Promise((resolve) => (ended = resolve));

createInterface({ input: process.stdin })
  .on("line", (line) => started(Number(line.replace("start ", ""))))
  .on("close", () => ended());

export function say(key, value) {
  process.stdout.write(`${JSON.stringify({ [key]: value })}\n`);
}

/**
 * Sends a plan in batches: as many records at once as their moments allow, up to `batchMax`, with up to `batchesInFlight` unanswered.
 * `sendBatch(records)` gets `{ n, dueMs }` with `dueMs` since the epoch, and resolves once all of them are accepted.
 */
export async function sendPlan(options, batchMax, batchesInFlight, sendBatch) {
  const plan = new Plan(options.plan);
  const log = new EventLog(options.log);
  const refusals = new Refusals();
  say("ready", true);
  const startMs = await startGiven;
  const inFlight = new Set();
  let behindMsMax = 0;
  for (let n = 0; n < plan.length; ) {
    const waitMs = startMs + plan.sendMs(n) - Date.now();
    if (waitMs > 0) {
      await sleep(waitMs);
      continue;
    }
    behindMsMax = Math.max(behindMsMax, -waitMs);
    const batch = [];
    for (; n < plan.length && batch.length < batchMax && startMs + plan.sendMs(n) <= Date.now(); n++) {
      batch.push({ n, dueMs: startMs + plan.dueMs(n) });
    }
    const answer = sendBatch(batch)
      .then(() => batch.forEach((record) => log.add(record.n, Date.now())))
      .catch((error) => refusals.add(batch.length, error))
      .finally(() => inFlight.delete(answer));
    inFlight.add(answer);
    if (inFlight.size >= batchesInFlight) {
      await Promise.race(inFlight);
    }
  }
  await Promise.all(inFlight);
  log.flush();
  say("sent", { records: plan.length, refused: refusals.count, first_refusal: refusals.first, behind_ms_max: behindMsMax });
  await endOfInput;
}
