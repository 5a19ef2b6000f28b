// The driver of RabbitMQ without its delay plugin: quorum queues whose messages expire into the queue of what is due. What it is told
// and what it says: tests/bench/peers/README.md, "Drivers".

import { setTimeout as sleep } from "node:timers/promises";
import amqp from "amqplib";
import { commandLine, endOfInput, EventLog, readBodies, say, sendPlan } from "./kit.js";

const NUMBER = "bench-n";
// Messages published at once, and how many such batches wait for their confirms:
// https://www.rabbitmq.com/tutorials/tutorial-seven-javascript
const BATCH_MAX = 100;
const BATCHES_IN_FLIGHT = 10;
// https://www.rabbitmq.com/docs/consumer-prefetch: 100 to 300 usually give the best throughput.
const PREFETCH = 300;
const RECONNECT_MS = 50;
// Delays below this have a queue for each second, longer ones a queue for each doubling.
const FINE_S = 32;

const { role, options } = commandLine();
const url = `amqp://${options.server}`;

const dueQueue = options.queue;

/** A message expires only at the head of its queue, so that those with like delays share one. */
function delayQueueOf(delayMs) {
  const seconds = Math.floor(delayMs / 1000);
  const step = seconds < FINE_S ? seconds : 2 ** Math.floor(Math.log2(seconds));
  return `${options.queue}.delay-${step}s`;
}

const delayQueueArguments = {
  "x-queue-type": "quorum",
  // What expires leaves only when the queue of what is due has confirmed it:
  // https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
  "x-dead-letter-exchange": "",
  "x-dead-letter-routing-key": dueQueue,
};

async function setup() {
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  await channel.assertQueue(dueQueue, { durable: true, arguments: { "x-queue-type": "quorum" } });
  say("ready", true);
  await endOfInput;
}

async function send() {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  const bodies = readBodies(options.bodies).map((body) => Buffer.from(body));
  const declared = new Map();
  const declare = (queue) => {
    if (!declared.has(queue)) {
      declared.set(queue, channel.assertQueue(queue, { durable: true, arguments: delayQueueArguments }));
    }
    return declared.get(queue);
  };
  const publish = async ({ n, dueMs }) => {
    const delayMs = Math.max(dueMs - Date.now(), 0);
    const queue = delayQueueOf(delayMs);
    await declare(queue);
    const properties = { persistent: true, expiration: String(delayMs), headers: { [NUMBER]: n } };
    await new Promise((resolve, reject) => {
      channel.sendToQueue(queue, bodies[n % bodies.length], properties, (error) => (error ? reject(error) : resolve()));
    });
  };
  await sendPlan(options, BATCH_MAX, BATCHES_IN_FLIGHT, (records) => Promise.all(records.map(publish)));
}

async function receive() {
  const log = new EventLog(options.log);
  const { closed } = await consume(log);
  say("ready", true);
  consumeAgain(log, closed);
  await endOfInput;
  log.flush();
}

/** A new connection each time that one is closed. */
async function consumeAgain(log, closed) {
  for (;;) {
    await closed;
    ({ closed } = await consume(log).catch(() => ({ closed: sleep(RECONNECT_MS) })));
  }
}

/** Consumes what is due. `closed` is the connection's end. */
async function consume(log) {
  const connection = await amqp.connect(url);
  connection.on("error", (error) => console.error("receive:", error.message));
  const closed = new Promise((resolve) => connection.on("close", resolve));
  const channel = await connection.createChannel();
  channel.on("error", (error) => console.error("receive:", error.message));
  await channel.prefetch(PREFETCH);
  await channel.consume(dueQueue, (message) => {
    log.add(message.properties.headers[NUMBER], Date.now());
    channel.ack(message);
  });
  return { closed };
}

const roles = { setup, send, receive };
if (!(role in roles)) {
  throw new Error("start with setup, send or receive, then options as key=value");
}
await roles[role]();
process.exit(0);
