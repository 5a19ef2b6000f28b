"""Which record is sent when and due when, ms after the start of a scenario."""

from harness.bodies import Sequence


def burst(records, due_ms):
    """All at once, as fast as they are taken, due at one instant."""
    return [(0, due_ms)] * records


def open_loop(rate_per_s, seconds, delay_min_ms, delay_max_ms):
    """Each record has its moment, and its due time counts from that moment, however late it is really sent."""
    random = Sequence()
    plan = []
    for n in range(rate_per_s * seconds):
        moment_ms = n * 1000 // rate_per_s
        plan.append((moment_ms, moment_ms + _between(delay_min_ms, delay_max_ms, random)))
    return plan


def spread(records, due_from_ms, due_until_ms):
    """As fast as they are taken, due uniformly within the range."""
    random = Sequence()
    return [(0, _between(due_from_ms, due_until_ms, random)) for _ in range(records)]


def _between(low, high, random):
    return low + random.next() % (high - low + 1)
