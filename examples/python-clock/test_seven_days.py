"""Tests what happens seven days later, in a moment. Wants a running `delayq embedded`."""
import json
import os
import time
import unittest
import urllib.request
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

KAFKA = os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092")
DELAYQ = os.environ.get("DELAYQ_URL", "http://localhost:8080")
SEVEN_DAYS_MS = 7 * 24 * 3600 * 1000


# snippet: clock
def advance(time_span):
    request = urllib.request.Request(
        f"{DELAYQ}/test/clock",
        data=json.dumps({"advance": time_span}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["now"]
# snippet: end


def wait_until_ready(within_s=60):
    until = time.monotonic() + within_s
    while True:
        try:
            urllib.request.urlopen(f"{DELAYQ}/readyz").close()
            return
        except OSError:  # not listening yet, or 503: its roles are still starting
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


class UnpaidOrder(unittest.TestCase):
    def setUp(self):
        wait_until_ready()
        self.order = f"order-{uuid.uuid4()}"
        self.consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": self.order})
        # Assigned by hand: the embedded broker needs seconds for a group to form.
        partitions = self.consumer.list_topics("orders.high", timeout=30).topics["orders.high"].partitions
        self.consumer.assign([TopicPartition("orders.high", partition, 0) for partition in partitions])
        self.addCleanup(self.consumer.close)

    # snippet: test
    def test_is_cancelled_after_seven_days(self):
        self.place_order()
        advance("6d")
        self.assertIsNone(self.cancellation(within_s=1), "a day too early")
        advance("1d")
        self.assertEqual(self.cancellation(within_s=30), b"cancel")
    # snippet: end

    def place_order(self):
        """What your service does: the order is stored, and its cancellation is sent ahead."""
        producer = Producer({"bootstrap.servers": KAFKA, "acks": "all"})
        producer.produce(
            "delayq.delay",
            key=self.order,
            value="cancel",
            headers={
                "delay-ms": str(SEVEN_DAYS_MS),
                "delay-target": "orders",
                "delay-priority": "high",
            },
        )
        producer.flush()

    def cancellation(self, within_s):
        until = time.monotonic() + within_s
        while (left := until - time.monotonic()) > 0:
            message = self.consumer.poll(left)
            if message and not message.error() and message.key().decode() == self.order:
                return message.value()
        return None


if __name__ == "__main__":
    unittest.main()
