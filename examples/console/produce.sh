#!/usr/bin/env bash
# Sends one record that is to appear in orders.high five seconds later, with Kafka's own console producer.
set -euo pipefail

bootstrap=${KAFKA_BOOTSTRAP:-localhost:9092}
topic=${DELAY_TOPIC:-delayq.delay}
target=${TARGET:-orders}

# snippet: producer
printf 'delay-ms:5000,delay-target:%s,delay-priority:high\torder-1\t{"order":1}\n' "$target" |
    kafka-console-producer.sh --bootstrap-server "$bootstrap" --topic "$topic" \
        --producer-property acks=all --property parse.headers=true --property parse.key=true
# snippet: end
