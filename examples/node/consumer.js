// Prints each delayed record once, however often it arrives. Ctrl-C ends it.
import kafkajs from "kafkajs";

const { Kafka, logLevel } = kafkajs;

const kafka = new Kafka({
  brokers: (process.env.KAFKA_BOOTSTRAP ?? "localhost:9092").split(","),
  logLevel: logLevel.WARN,
});
const target = process.env.TARGET ?? "orders";

// Stands for a unique column in your database, filled in the transaction that handles the record.
const seen = new Set();

// snippet: consumer
function handle({ key, value, headers }) {
  const source = headers["delayed-source"].toString(); // the same in every copy of a record
  if (seen.has(source)) {
    console.log(`duplicate source=${source}`);
    return;
  }
  seen.add(source);
  const lateMs = Date.now() - Number(headers["delayed-due-ms"]);
  console.log(`key=${key} value=${value} late_ms=${lateMs} source=${source}`);
}
// snippet: end

const consumer = kafka.consumer({ groupId: process.env.GROUP ?? "orders-node" });
await consumer.connect();
await consumer.subscribe({
  topics: ["high", "standard", "low"].map((priority) => `${target}.${priority}`),
  fromBeginning: true,
});
// Offsets are committed after the handler: a crash repeats records, never skips one.
await consumer.run({ eachMessage: async ({ message }) => handle(message) });

process.once("SIGINT", () => consumer.disconnect());
