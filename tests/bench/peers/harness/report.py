"""A table for people, from the same result that `--json` prints."""

_ROWS = (
    ("version", ("version",)),
    ("burst: records", ("burst", "records")),
    ("  accepted, records/s", ("burst", "ingest_records_per_s")),
    ("  all accepted before due", ("burst", "all_accepted_before_due")),
    ("  published, records/s", ("burst", "publish_records_per_s")),
    ("  refused", ("burst", "refused")),
    ("  lost", ("burst", "lost")),
    ("  early", ("burst", "early")),
    ("  early by, ms at most", ("burst", "early_ms_max")),
    ("  MiB idle", ("burst", "memory_mib_idle", "resident")),
    ("  MiB waiting", ("burst", "memory_mib_waiting", "resident")),
    ("  MiB most", ("burst", "memory_mib_most", "resident")),
    ("  MiB per million pending", ("burst", "memory_mib_per_million_pending", "resident")),
    ("    without mapped files", ("burst", "memory_mib_per_million_pending", "anonymous")),
    ("  disk bytes a record", ("burst", "disk_bytes_per_record")),
    ("steady: records", ("lateness", "records")),
    ("  lateness ms p50", ("lateness", "lateness_ms", "p50")),
    ("  lateness ms p99", ("lateness", "lateness_ms", "p99")),
    ("  lateness ms p99.9", ("lateness", "lateness_ms", "p999")),
    ("  lateness ms max", ("lateness", "lateness_ms", "max")),
    ("  refused", ("lateness", "refused")),
    ("  lost", ("lateness", "lost")),
    ("  early", ("lateness", "early")),
    ("  early by, ms at most", ("lateness", "early_ms_max")),
    ("  sender behind, ms at most", ("lateness", "sender_behind_ms_max")),
    ("crash: records accepted", ("crash", "accepted")),
    ("  lost", ("crash", "lost")),
    ("  duplicates", ("crash", "duplicates")),
    ("  early", ("crash", "early")),
    ("  down, ms", ("crash", "down_ms")),
    ("  first again after, ms", ("crash", "first_delivery_after_kill_ms")),
    ("  overdue records", ("crash", "overdue", "records")),
    ("  overdue lateness ms p50", ("crash", "overdue", "lateness_ms", "p50")),
    ("  overdue lateness ms max", ("crash", "overdue", "lateness_ms", "max")),
)
_SCENARIOS = ("burst", "lateness", "crash")


def table(result):
    """Peers side by side, then what could not be measured and why."""
    measured = [peer for peer in result["peers"] if "unavailable" not in peer]
    lines = [["", *(peer["peer"] for peer in measured)]]
    lines += [[title, *(_cell(peer, path) for peer in measured)] for title, path in _ROWS]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if measured else []
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines if measured]
    return "\n".join([*text, *_notes(result["peers"])])


def _notes(peers):
    for peer in peers:
        if "unavailable" in peer:
            yield f"{peer['peer']} is not available: {peer['unavailable']}"
        for scenario in _SCENARIOS:
            if "failed" in peer.get(scenario, {}):
                yield f"{peer['peer']}, {scenario} failed: {peer[scenario]['failed']}"


def _cell(peer, path):
    value = peer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
