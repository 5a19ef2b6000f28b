// The driver of BullMQ. What it is told and what it says: tests/bench/peers/README.md, "Drivers".

import { Queue, Worker } from "bullmq";
import { commandLine, endOfInput, EventLog, readBodies, say, sendPlan } from "./kit.js";

// Jobs of one addBulk, and how many of these wait for their answer.
const BULK_MAX = 100;
const BULKS_IN_FLIGHT = 10;
// Jobs that a worker processes at once: https://docs.bullmq.io/guide/workers/concurrency
const CONCURRENCY = 100;
const JOB_ID = "record-";

const { role, options } = commandLine();
const [host, port] = options.server.split(":");
const connection = { host, port: Number(port) };

async function setup() {
  const queue = new Queue(options.queue, { connection });
  await queue.waitUntilReady();
  say("ready", true);
  await endOfInput;
}

async function send() {
  const queue = new Queue(options.queue, { connection });
  await queue.waitUntilReady();
  const bodies = readBodies(options.bodies).map((body) => JSON.parse(body));
  await sendPlan(options, BULK_MAX, BULKS_IN_FLIGHT, (records) => {
    // A delay counts from the job's timestamp, which is given so that it is the moment by which the delay was counted.
    const timestamp = Date.now();
    return queue.addBulk(
      records.map(({ n, dueMs }) => ({
        name: "delayed",
        data: bodies[n % bodies.length],
        opts: { jobId: `${JOB_ID}${n}`, timestamp, delay: Math.max(dueMs - timestamp, 0), removeOnComplete: true },
      })),
    );
  });
}

async function receive() {
  const log = new EventLog(options.log);
  const seen = async (job) => log.add(Number(job.id.slice(JOB_ID.length)), Date.now());
  const worker = new Worker(options.queue, seen, { connection, concurrency: CONCURRENCY });
  worker.on("error", (error) => console.error("receive:", error.message));
  await worker.waitUntilReady();
  say("ready", true);
  await endOfInput;
  log.flush();
}

const roles = { setup, send, receive };
if (!(role in roles)) {
  throw new Error("start with setup, send or receive, then options as key=value");
}
await roles[role]();
process.exit(0);
