#!/usr/bin/env bash
# Sends one record that is to appear in orders.high five seconds later, with kcat.
set -euo pipefail

bootstrap=${KAFKA_BOOTSTRAP:-localhost:9092}
topic=${DELAY_TOPIC:-delayq.delay}
target=${TARGET:-orders}

# snippet: producer
printf '{"order":1}' | kcat -P -b "$bootstrap" -t "$topic" -X enable.idempotence=true -k order-1 \
    -H delay-ms=5000 -H delay-target="$target" -H delay-priority=high
# snippet: end
