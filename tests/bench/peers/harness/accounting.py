"""Counts what was accepted and what came out: pure, so that it can be tested without any peer."""

import array

QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))


def quantiles(values):
    """p50, p99, p999 and max of numbers: the smallest value that at least that share does not exceed. `None` for none."""
    ordered = sorted(values)
    if not ordered:
        return {**{name: None for name, _ in QUANTILES}, "max": None}
    # Ceiling in whole numbers: 0.999 * 1000 is not 999 in floating point.
    ranks = {name: -(-len(ordered) * round(share * 1000) // 1000) for name, share in QUANTILES}
    return {**{name: ordered[max(rank, 1) - 1] for name, rank in ranks.items()}, "max": ordered[-1]}


class Tally:
    """What happened to records 0..n, whose due times are given in ms since the epoch."""

    def __init__(self, due_ms):
        self.due_ms = due_ms
        self._accepted_ms = array.array("q", [0]) * len(due_ms)
        self._first_ms = array.array("q", [0]) * len(due_ms)
        self.accepted = 0
        self.delivered = 0
        self.duplicates = 0
        self.early = 0
        self._missing = 0

    def accept(self, events):
        """The server confirmed these as durable. A second confirmation of a record counts once."""
        for n, at_ms in events:
            if self._accepted_ms[n] == 0:
                self._accepted_ms[n] = at_ms
                self.accepted += 1
                self._missing += self._first_ms[n] == 0

    def deliver(self, events):
        """A consumer received these."""
        for n, at_ms in events:
            self.early += at_ms < self.due_ms[n]
            if self._first_ms[n]:
                self.duplicates += 1
                continue
            self._first_ms[n] = at_ms
            self.delivered += 1
            self._missing -= self._accepted_ms[n] != 0

    @property
    def lost(self):
        """Records that were accepted and never came."""
        return self._missing

    @property
    def unconfirmed_delivered(self):
        """Records that came although their acceptance was never confirmed: allowed."""
        return self.delivered - (self.accepted - self._missing)

    def lateness_ms(self, due_from_ms=None, due_until_ms=None):
        """First delivery minus due time of each delivered record whose due time lies in the range; early ones count as 0."""
        return [
            max(at_ms - due, 0)
            for due, at_ms in zip(self.due_ms, self._first_ms)
            if at_ms
            and (due_from_ms is None or due >= due_from_ms)
            and (due_until_ms is None or due <= due_until_ms)
        ]

    def early_ms_max(self):
        """How much too early the earliest was."""
        return max((due - at for due, at in zip(self.due_ms, self._first_ms) if at), default=0)

    def accept_span_ms(self):
        """First and last confirmation, or `None` without one."""
        times = [at_ms for at_ms in self._accepted_ms if at_ms]
        return (min(times), max(times)) if times else None

    def last_delivery_ms(self):
        """When the last record came for the first time, or `None`."""
        return max(self._first_ms, default=0) or None

    def first_delivery_after_ms(self, moment_ms):
        """The first record that came after a moment, or `None`."""
        return min((at_ms for at_ms in self._first_ms if at_ms > moment_ms), default=None)

    def figures(self):
        """What every scenario tells."""
        early_ms_max = max(self.early_ms_max(), 0)
        return {
            "records": len(self.due_ms),
            "accepted": self.accepted,
            "refused": len(self.due_ms) - self.accepted,
            "delivered": self.delivered,
            "lost": self.lost,
            "early": self.early,
            "early_ms_max": early_ms_max,
            "duplicates": self.duplicates,
            "unconfirmed_delivered": self.unconfirmed_delivered,
            "lateness_ms": quantiles(self.lateness_ms()),
        }


def per_second(count, span_ms):
    """A rate; `None` where there was nothing to divide by."""
    return round(count / span_ms * 1000, 1) if span_ms and span_ms > 0 else None
