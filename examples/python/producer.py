"""Sends one record that is to appear in orders.high five seconds later."""

import os

from confluent_kafka import Producer

producer = Producer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092"),
        "acks": "all",
        "enable.idempotence": True,
    }
)
topic = os.environ.get("DELAY_TOPIC", "delayq.delay")
target = os.environ.get("TARGET", "orders")


def stored(error, message):
    if error:
        raise SystemExit(f"not sent: {error}")
    print(f"sent to {message.topic()}, partition {message.partition()}, offset {message.offset()}")


# snippet: producer
producer.produce(
    topic,
    key="order-1",
    value='{"order":1}',
    headers={"delay-ms": "5000", "delay-target": target, "delay-priority": "high"},
    on_delivery=stored,  # acks=all: from here on it will not be lost
)
producer.flush()
# snippet: end
