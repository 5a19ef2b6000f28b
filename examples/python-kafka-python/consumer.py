"""Prints each delayed record once, however often it arrives. Ctrl-C ends it."""

import os
import time

from kafka import KafkaConsumer

target = os.environ.get("TARGET", "orders")
consumer = KafkaConsumer(
    *[f"{target}.{priority}" for priority in ("high", "standard", "low")],
    bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092"),
    group_id=os.environ.get("GROUP", "orders-kafka-python"),
    auto_offset_reset="earliest",
    enable_auto_commit=False,
)

# Stands for a unique column in your database, filled in the transaction that handles the record.
seen = set()


# snippet: consumer
def handle(message):
    headers = {name: value.decode() for name, value in message.headers}
    source = headers["delayed-source"]  # the same in every copy of a record
    if source in seen:
        print(f"duplicate source={source}", flush=True)
        return
    seen.add(source)
    late_ms = time.time_ns() // 1_000_000 - int(headers["delayed-due-ms"])
    key, value = message.key.decode(), message.value.decode()
    print(f"key={key} value={value} late_ms={late_ms} source={source}", flush=True)


# snippet: end


try:
    for message in consumer:
        handle(message)
        consumer.commit()  # after the work: a crash repeats records, never skips one
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
