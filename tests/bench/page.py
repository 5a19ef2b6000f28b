"""The tables of docs/benchmarks.md, from the figures that were measured.

In the page a table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a function below.
"""

import re

MISSING = "not measured"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text, results):
    """The page with all its tables made anew; what has no figures says so."""

    def table(match):
        return match.group(1) + TABLES[match.group(2)](results) + match.group(3)

    return _TABLE.sub(table, text)


def rows(head, lines):
    body = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in body)


def at(figures, *path):
    """The figure at this path, told shortly."""
    for key in path:
        figures = figures.get(key) if isinstance(figures, dict) else None
    if figures is None:
        return MISSING
    if isinstance(figures, bool):
        return "yes" if figures else "no"
    if isinstance(figures, (int, float)):
        return f"{figures:,.0f}" if abs(figures) >= 100 else f"{figures:g}"
    return str(figures)


def each(figures):
    """Name and figure of all, those that are next to nothing left out."""
    if not isinstance(figures, dict):
        return MISSING
    return ", ".join(f"{name} {value:g}" for name, value in sorted(figures.items()) if value >= 0.05)


def by_number(figures):
    """Names and figures in the order of the numbers that the names begin with."""
    return sorted((figures or {}).items(), key=lambda pair: int(re.match(r"\d+", pair[0]).group()))


def both_forms(results, name):
    """Figures of the quick form and of the full one."""
    return [results.get(name, {}), results.get(f"{name}-full", {})]


def lateness(figures, of="lateness_ms"):
    quantiles = [at(figures, of, name) for name in ("p50", "p99", "p999", "max")]
    return MISSING if MISSING in quantiles else " / ".join(quantiles)


def between(ends):
    return f"{ends[0]} to {ends[1]}" if ends else MISSING


def sustained(results):
    lines = []
    measured = [
        (tiers, one)
        for tiers, name in (("embedded", "sustained-embedded"), ("ElasticMQ", "sustained-stack"))
        for one in both_forms(results, name)
    ]
    for tiers, one in measured:
        lines.append(
            [
                tiers,
                at(one, "records"),
                between(one.get("delay_s")),
                at(one, "records_per_s"),
                at(one, "ratio_to_copy"),
                at(one, "copy_records_per_s"),
                at(one, "cpu_us_per_record_roles"),
                each(one.get("cpu_us_per_record")),
                at(one, "short_path_share"),
                at(one, "lost"),
                at(one, "early"),
            ]
        )
    head = ["tiers", "records", "delays, s", "records/s", "of the copy", "copy, records/s", "all roles, µs", "each process, µs", "short path", "lost", "early"]
    return rows(head, lines)


def burst(results):
    lines = []
    runs = [("as it comes", one) for one in both_forms(results, "burst-stack")]
    for told, one in [*runs, ("roles killed while they waited", results.get("restart-stack", {}))]:
        lines.append(
            [
                told,
                at(one, "records"),
                at(one, "intake_records_per_s"),
                at(one, "records_per_s"),
                at(one, "ratio_to_copy"),
                at(one, "restarted_full_speed_after_ms"),
                each({role: mib for role, mib in (one.get("memory_mib") or {}).items() if role in ROLES}),
                at(one, "usd_per_million"),
                at(one, "lost"),
                at(one, "early"),
            ]
        )
    head = ["", "records", "taken in/s", "published/s", "of the copy", "full speed after start, ms", "most memory, MiB", "US dollars a million", "lost", "early"]
    return rows(head, lines)


def late(results):
    shares = results.get("lateness-shares", {})
    fixed = (
        ("1,000/s", results.get("lateness-1000", {})),
        ("6,500/s", results.get("lateness-6500", {})),
        ("6,500/s, topics of one partition", results.get("lateness-6500-one", {})),
    )
    shared = ((f"{share} of full, {at(one, 'rate_per_s')}/s", one) for share, one in by_number(shares.get("by_share")))
    lines = [[told, lateness(one), lateness(one, PLAIN), at(one, "early")] for told, one in (*fixed, *shared)]
    return rows(["load", QUANTILES, "a plain producer's meanwhile", "early"], lines)


def priority(results):
    one = results.get("priority", {})
    lines = [
        [told, lateness(one.get(part, {})), lateness(one.get(part, {}), PLAIN)]
        for told, part in (
            ("alone", "idle"),
            (f"beside a backlog of {at(one, 'backlog')} (at the end {at(one, 'backlog_left')})", "backlogged"),
        )
    ]
    return rows(["high priority", QUANTILES, "a plain producer's meanwhile"], lines)


def cost(results):
    lines = []
    for told, name in (("short path, 3 to 60 s, 1,000/s", "lateness-1000"), ("short path, 3 to 60 s, 10/s", "lateness-10")):
        lines.append([told, at(results.get(name, {}), "usd_per_million"), "", "", ""])
    for told, name in (("long path, 15 min to 24 h, 1,000/s", "cost-day"), ("long path, 15 min to 7 days, 1,000/s", "cost-week")):
        one = results.get(name, {})
        lines.append([told, at(one, "usd_per_million"), at(one, "planned_usd_per_million"), at(one, "records_per_batch"), at(one, "write_units_per_record")])
    for one in both_forms(results, "long"):
        told = f"{at(one, 'records')} written for {at(one, 'days')} days, as fast as it goes"
        lines.append([told, at(one, "usd_per_million_written"), "", at(one, "records_per_batch"), at(one, "write_units_per_record")])
    return rows(["", "US dollars a million", "`delayq plan`", "records in a batch", "write units a record"], lines)


def long(results):
    runs = both_forms(results, "long")
    figures = (
        ("written, records", lambda one: at(one, "records")),
        ("a second", lambda one: at(one, "records_per_s")),
        ("records in a batch", lambda one: at(one, "records_per_batch")),
        ("write units a record", lambda one: at(one, "write_units_per_record")),
        ("a bucket handed over, records/s", lambda one: at(one, "handover_records_per_s")),
        ("its lateness, p50 / p99 / p99.9 / max, ms", lateness),
        ("lost, early", lambda one: f"{at(one, 'lost')}, {at(one, 'early')}"),
    )
    lines = [[told, *(of(one) for one in runs)] for told, of in figures]
    return rows(["", "quick", "full"], lines)


def sizes(results):
    lines = [
        [size, at(of, "records_per_s"), at(of, "ratio_to_copy"), each(of.get("cpu_us_per_record")), at(of, "saturated"), at(of, "lost")]
        for size, of in by_number(results.get("sizes", {}).get("by_size"))
    ]
    return rows(["value", "records/s", "of the copy", "each process, µs", "at its limit", "lost"], lines)


def scale(results):
    by_count = by_number(results.get("scale", {}).get("by_replicas"))
    lines = [[count, at(of, "records_per_s"), at(of, "ratio_to_copy"), at(of, "lost")] for count, of in by_count]
    return rows(["processes of each role, partitions, shards", "records/s", "of the copy", "lost"], lines)


def peers(results):
    burst_of, steady = results.get("burst-stack", {}), results.get("lateness-1000", {})
    lines = [
        [
            "**delayq**",
            at(burst_of, "records"),
            at(burst_of, "intake_records_per_s"),
            at(burst_of, "records_per_s"),
            lateness(steady),
            at(steady, "early"),
            "0: [tests](../tests/README.md)",
        ]
    ]
    for durability in ("process", "disk"):
        for peer in results.get(f"peers-{durability}", {}).get("peers", []):
            name = f"{peer['peer']} {peer.get('version', '')}".strip()
            if "unavailable" in peer:
                lines.append([name, f"not available: {peer['unavailable']}", "", "", "", "", ""])
                continue
            lines.append(
                [
                    f"{name}, {durability}",
                    at(peer, "burst", "records"),
                    at(peer, "burst", "ingest_records_per_s"),
                    at(peer, "burst", "publish_records_per_s"),
                    lateness(peer.get("lateness", {})),
                    at(peer, "lateness", "early"),
                    at(peer, "crash", "lost"),
                ]
            )
    head = ["", "burst", "accepted/s", "published/s once due", "1,000/s: p50 / p99 / p99.9 / max, ms", "early", "lost by kill -9"]
    return rows(head, lines)


# What Kafka alone makes late on the machine as it is then.
PLAIN = "plain_lateness_ms"
QUANTILES = "p50 / p99 / p99.9 / max, ms"
ROLES = ("router", "scheduler", "emitter", "all")
TABLES = {one.__name__: one for one in (sustained, burst, late, priority, cost, long, sizes, scale, peers)}
