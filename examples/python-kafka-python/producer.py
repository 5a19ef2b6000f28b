"""Sends one record that is to appear in orders.high five seconds later."""

import os

from kafka import KafkaProducer

producer = KafkaProducer(
    bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092"),
    acks="all",
    enable_idempotence=True,
)
topic = os.environ.get("DELAY_TOPIC", "delayq.delay")
target = os.environ.get("TARGET", "orders")

# snippet: producer
sent = producer.send(
    topic,
    key=b"order-1",
    value=b'{"order":1}',
    headers=[("delay-ms", b"5000"), ("delay-target", target.encode()), ("delay-priority", b"high")],
)
stored = sent.get(timeout=60)  # acks=all: from here on it will not be lost
# snippet: end
print(f"sent to {stored.topic}, partition {stored.partition}, offset {stored.offset}")
producer.close()
