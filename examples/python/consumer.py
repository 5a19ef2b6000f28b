"""Prints each delayed record once, however often it arrives. Ctrl-C ends it."""

import os
import sys
import time

from confluent_kafka import Consumer

consumer = Consumer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092"),
        "group.id": os.environ.get("GROUP", "orders-python"),
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
target = os.environ.get("TARGET", "orders")

# Stands for a unique column in your database, filled in the transaction that handles the record.
seen = set()


# snippet: consumer
def handle(message):
    headers = {name: value.decode() for name, value in message.headers()}
    source = headers["delayed-source"]  # the same in every copy of a record
    if source in seen:
        print(f"duplicate source={source}", flush=True)
        return
    seen.add(source)
    late_ms = time.time_ns() // 1_000_000 - int(headers["delayed-due-ms"])
    key, value = message.key().decode(), message.value().decode()
    print(f"key={key} value={value} late_ms={late_ms} source={source}", flush=True)


# snippet: end


consumer.subscribe([f"{target}.{priority}" for priority in ("high", "standard", "low")])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr)  # a topic or broker that is away: the client goes on trying
            continue
        handle(message)
        consumer.commit(message)  # after the work: a crash repeats records, never skips one
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
