"""The job that every peer does: a burst, a steady load, a crash. Each on a server with fresh data."""

import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
import time

from harness import plans, rows
from harness.accounting import Tally, per_second, quantiles
from harness.bodies import write_bodies
from harness.peer import BUILT, ROOT
from harness.processes import Failed

#: Bodies are made ahead and take turns, so that making them costs the drivers nothing.
BODIES = 16_384
READY_S = 120
#: From telling a driver its start to the start.
START_IN_MS = 500
WARM_UP_MIN, WARM_UP_MAX = 500, 5_000
WARM_UP_DUE_MS = 1_000
#: How much slower than the warm-up a larger run may be.
SLOWER = 1.5
#: Between the expected end of the ingest and the due time.
MARGIN_MS = 5_000
LOOK_AGAIN_S = 0.2
#: After the last record: for duplicates.
QUIET_S = 2
#: Still publishing after this long: given up, and told as a failure, not as a loss.
DRAIN_MAX_S = 3_600


@dataclasses.dataclass
class Rates:
    """How fast a peer was while it warmed up, records/s: what follows is planned by it."""

    ingest_per_s: float
    publish_per_s: float

    def records_within(self, seconds, wanted):
        """As many as wanted, or as can be taken in and published in the time."""
        slowest = min(self.ingest_per_s, self.publish_per_s)
        return min(wanted, max(int(slowest * seconds), WARM_UP_MIN))


@dataclasses.dataclass
class Settings:
    """Sizes of a run."""

    burst_records: int
    lateness_s: int
    crash_records: int
    #: How long nothing may come before the rest counts as lost.
    patience_s: int
    #: Neither taking in nor publishing is planned to last longer: there are fewer records then, and the result says so.
    phase_max_s: int
    keep: bool = False
    rate_per_s: int = 1_000
    delay_ms: tuple = (3_000, 10_000)
    crash_delay_ms: tuple = (10_000, 20_000)


def burst(peer, settings):
    """All due at one instant. If they were not all accepted before it, once more with more time."""
    result, slower = {}, SLOWER
    for attempt in (1, 2):
        with _stage(peer, settings) as stage:
            rates = stage.warm_up(settings.burst_records // 20)
            result = {**_burst(stage, settings, rates, slower), "attempts": attempt}
        if result["all_accepted_before_due"]:
            break
        slower *= 3
    return result


def _burst(stage, settings, rates, slower):
    records = rates.records_within(settings.phase_max_s, settings.burst_records)
    idle = stage.server.memory_mib()
    due_ms = int(records / rates.ingest_per_s * 1000 * slower) + MARGIN_MS
    run = stage.run("burst", plans.burst(records, due_ms))
    run.until_sent(patience_s=due_ms / 1000 * 3 + settings.patience_s)
    waiting, disk = stage.server.memory_mib(), stage.server.disk_bytes()
    in_time = _now_ms() < run.start_ms + due_ms
    run.until_delivered(settings.patience_s)
    tally = run.finish()
    span, last = tally.accept_span_ms(), tally.last_delivery_ms()
    due_at_ms = run.start_ms + due_ms
    grown_mib = {kind: waiting[kind] - idle[kind] for kind in waiting}
    return {
        **tally.figures(),
        "records_wanted": settings.burst_records,
        "all_accepted_before_due": in_time,
        "ingest_records_per_s": per_second(tally.accepted, span and span[1] - run.start_ms),
        "publish_records_per_s": per_second(tally.delivered, last and last - due_at_ms),
        "drain_s": last and round((last - due_at_ms) / 1000, 2),
        "memory_mib_idle": idle,
        "memory_mib_waiting": waiting,
        "memory_mib_most": run.memory_most_mib,
        "memory_mib_per_million_pending": {kind: round(mib / records * 1e6, 1) for kind, mib in grown_mib.items()},
        "disk_bytes_waiting": disk,
        "disk_bytes_per_record": round(disk / records, 1),
        "first_refusal": run.first_refusal,
        "kept": stage.kept(),
    }


def lateness(peer, settings):
    """A steady load, sent at planned moments."""
    with _stage(peer, settings) as stage:
        stage.warm_up(WARM_UP_MIN)
        low, high = settings.delay_ms
        plan = plans.open_loop(settings.rate_per_s, settings.lateness_s, low, high)
        run = stage.run("lateness", plan)
        sent = run.until_sent(patience_s=settings.lateness_s * 10 + settings.patience_s)
        run.until_delivered(settings.patience_s)
        tally = run.finish()
        last = tally.accept_span_ms()
        return {
            **tally.figures(),
            "rate_per_s": settings.rate_per_s,
            "accepted_per_s": per_second(tally.accepted, last and last[1] - run.start_ms),
            "delay_ms": list(settings.delay_ms),
            "memory_mib_most": run.memory_most_mib,
            "sender_behind_ms_max": sent["behind_ms_max"],
            "first_refusal": run.first_refusal,
            "kept": stage.kept(),
        }


def crash(peer, settings):
    """kill -9 when half of what was accepted is due; then a start on the same data."""
    with _stage(peer, settings) as stage:
        rates = stage.warm_up(settings.crash_records // 10)
        records = rates.records_within(settings.phase_max_s, settings.crash_records)
        ingest_ms = int(records / rates.ingest_per_s * 1000 * SLOWER)
        low, high = (ingest_ms + delay for delay in settings.crash_delay_ms)
        run = stage.run("crash", plans.spread(records, low, high))
        run.until_sent(patience_s=ingest_ms / 1000 * 3 + settings.patience_s)
        run.until(run.start_ms + (low + high) // 2)
        delivered_before = run.look().delivered
        killed_ms = _now_ms()
        stage.server.kill()
        stage.server.start()
        back_ms = _now_ms()
        run.until_delivered(settings.patience_s)
        tally = run.finish()
        # What the client had in its hands at the kill may still come while the server is down.
        first_ms = tally.first_delivery_after_ms(back_ms)
        overdue = tally.lateness_ms(killed_ms, back_ms)
        return {
            **tally.figures(),
            "records_wanted": settings.crash_records,
            "delivered_before_kill": delivered_before,
            "down_ms": back_ms - killed_ms,
            "first_delivery_after_kill_ms": first_ms and first_ms - killed_ms,
            "overdue": {"records": len(overdue), "lateness_ms": quantiles(overdue)},
            "first_refusal": run.first_refusal,
            "kept": stage.kept(),
        }


@contextlib.contextmanager
def _stage(peer, settings):
    BUILT.mkdir(parents=True, exist_ok=True)
    # Below target, on a disk: a temporary folder may be memory, where nothing is durable.
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"run-{peer.name}-", dir=BUILT))
    server = peer.server(folder)
    try:
        try:
            server.start()
            yield Stage(server, settings)
        finally:
            server.stop()
    finally:
        if not (settings.keep or server.look_into):
            shutil.rmtree(folder, ignore_errors=True)


class Stage:
    """A server that runs, and the bodies of its records."""

    def __init__(self, server, settings):
        self.server = server
        self._settings = settings
        self._bodies = server.folder / "bodies"
        write_bodies(self._bodies, BODIES)

    def kept(self):
        """Where logs and data stay, if something was lost."""
        return str(self.server.folder.relative_to(ROOT)) if self.server.look_into else None

    def warm_up(self, records):
        """Some records all the way. Returns how fast they went."""
        records = min(max(records, WARM_UP_MIN), WARM_UP_MAX)
        run = self.run("warm", plans.burst(records, WARM_UP_DUE_MS))
        run.until_sent(patience_s=600)
        run.until_delivered(self._settings.patience_s)
        tally = run.finish()
        if tally.lost or not tally.accepted:
            raise Failed(f"of {records} records to warm up, {tally.accepted} were accepted and {tally.lost} of these lost")
        due_at_ms = run.start_ms + WARM_UP_DUE_MS
        return Rates(
            ingest_per_s=per_second(tally.accepted, max(tally.accept_span_ms()[1] - run.start_ms, 1)),
            publish_per_s=per_second(tally.delivered, max(tally.last_delivery_ms() - due_at_ms, 1)),
        )

    def run(self, queue, plan):
        """Sets up a queue, its receiver and its sender, and starts them."""
        setup = self.server.driver("setup", queue=queue)
        setup.expect("ready", READY_S)
        self.server.end(setup)
        return Run(self.server, queue, plan, self._bodies)


class Run:
    """Records on their way through one queue."""

    def __init__(self, server, queue, plan, bodies):
        self._server = server
        path = server.folder / queue
        rows.write_plan(f"{path}.plan", plan)
        self._accepted = rows.EventLog(f"{path}.accepted")
        self._received = rows.EventLog(f"{path}.received")
        self.memory_most_mib = {}
        self.first_refusal = None
        self._receiver = server.driver("receive", queue=queue, log=f"{path}.received")
        self._sender = server.driver("send", queue=queue, log=f"{path}.accepted", plan=f"{path}.plan", bodies=bodies)
        self._receiver.expect("ready", READY_S)
        self._sender.expect("ready", READY_S)
        self.start_ms = _now_ms() + START_IN_MS
        self._tally = Tally([self.start_ms + due_ms for _, due_ms in plan])
        self._sender.tell(f"start {self.start_ms}")

    def look(self):
        """Reads what has happened so far."""
        self._tally.accept(self._accepted.new_events())
        self._tally.deliver(self._received.new_events())
        memory = self._server.memory_mib()
        self.memory_most_mib = {kind: max(mib, self.memory_most_mib.get(kind, 0)) for kind, mib in memory.items()}
        return self._tally

    def until_sent(self, patience_s):
        """Until each record is accepted or refused. Returns what the sender says."""
        deadline = time.monotonic() + patience_s
        while not self._sender.finished():
            if time.monotonic() > deadline:
                raise Failed(f"after {patience_s:.0f} s only {self.look().accepted} records are accepted")
            self._server.check_alive()
            self.look()
            time.sleep(LOOK_AGAIN_S)
        sent = self._sender.expect("sent", 1)
        self._server.end(self._sender)
        self.first_refusal = sent.get("first_refusal") or None
        return sent

    def until(self, moment_ms):
        """Until a moment of the wall clock."""
        while _now_ms() < moment_ms:
            self.look()
            time.sleep(min(LOOK_AGAIN_S, max(moment_ms - _now_ms(), 0) / 1000))

    def until_delivered(self, patience_s):
        """Until everything accepted has come, or nothing for a while although it is due."""
        started = grew = time.monotonic()
        delivered = -1
        last_due_ms = max(self._tally.due_ms)
        while True:
            tally = self.look()
            if tally.lost == 0:
                return
            if tally.delivered > delivered or _now_ms() < last_due_ms:
                delivered, grew = tally.delivered, time.monotonic()
            if time.monotonic() - grew > patience_s:
                return
            if time.monotonic() - started > DRAIN_MAX_S + last_due_ms / 1000 - self.start_ms / 1000:
                raise Failed(f"still publishing after {DRAIN_MAX_S} s: {tally.delivered} of {tally.accepted} records have come")
            self._server.check_alive()
            time.sleep(LOOK_AGAIN_S)

    def finish(self):
        """A moment for duplicates, then the last of the logs."""
        time.sleep(QUIET_S)
        self._server.end(self._receiver)
        tally = self.look()
        if tally.lost:
            # Lost for its consumer: whether the server still holds it, its data and logs may tell.
            self._server.look_into = True
        return tally


def _now_ms():
    return time.time_ns() // 1_000_000
