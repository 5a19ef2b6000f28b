#!/usr/bin/env bash
# Prints each delayed record once, with Kafka's own console consumer. Ctrl-C ends it.
set -euo pipefail

bootstrap=${KAFKA_BOOTSTRAP:-localhost:9092}
target=${TARGET:-orders}
group=${GROUP:-orders-console}
source "$(dirname "$0")/once.sh"

# snippet: consumer
kafka-console-consumer.sh --bootstrap-server "$bootstrap" --group "$group" --from-beginning \
    --include "$target\.(high|standard|low)" --property print.headers=true --property print.key=true | once ':'
# snippet: end
