#!/usr/bin/env bash
# Prints each delayed record once, with kcat. Ctrl-C ends it.
set -euo pipefail

bootstrap=${KAFKA_BOOTSTRAP:-localhost:9092}
target=${TARGET:-orders}
group=${GROUP:-orders-kcat}
source "$(dirname "$0")/once.sh"

# snippet: consumer
kcat -b "$bootstrap" -X auto.offset.reset=earliest -q -u -f '%h\t%k\t%s\n' \
    -G "$group" "$target.high" "$target.standard" "$target.low" | once '='
# snippet: end
