// Sends one record that is to appear in orders.high five seconds later.
import { Kafka, Partitioners } from "kafkajs";

const kafka = new Kafka({ brokers: (process.env.KAFKA_BOOTSTRAP ?? "localhost:9092").split(",") });
const topic = process.env.DELAY_TOPIC ?? "delayq.delay";
const target = process.env.TARGET ?? "orders";

const producer = kafka.producer({
  idempotent: true,
  maxInFlightRequests: 1, // kafkajs keeps its order only so
  createPartitioner: Partitioners.DefaultPartitioner,
});
await producer.connect();

// snippet: producer
const [stored] = await producer.send({
  topic,
  acks: -1, // all: once this returns, the record will not be lost
  messages: [
    {
      key: "order-1",
      value: '{"order":1}',
      headers: { "delay-ms": "5000", "delay-target": target, "delay-priority": "high" },
    },
  ],
});
// snippet: end

console.log(`sent to ${stored.topicName}, partition ${stored.partition}, offset ${stored.baseOffset}`);
await producer.disconnect();
