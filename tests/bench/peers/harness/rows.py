"""The files by which harness and drivers speak: fixed rows, little endian, so that any language reads and writes them cheaply.

A plan has one row a record, record n at row n: when it is to be sent (ms after the start) and when it is due (ms after the start).
A log has one row an event, in the order in which they happened: the record's number and the wall clock in ms since the epoch.
"""

import struct

_PLAN = struct.Struct("<II")
_EVENT = struct.Struct("<IQ")


def write_plan(path, plan):
    """`plan`: pairs of (send_ms, due_ms) after the start."""
    with open(path, "wb") as file:
        file.writelines(_PLAN.pack(send_ms, due_ms) for send_ms, due_ms in plan)


class EventLog:
    """Reads a log while a driver writes it."""

    def __init__(self, path):
        self._path = path
        self._read_bytes = 0

    def new_events(self):
        """Pairs of (n, at_ms) since the last call; a row that is half written stays for the next."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = len(data) - len(data) % _EVENT.size
        self._read_bytes += whole
        return list(_EVENT.iter_unpack(data[:whole]))


def append_event(file, n, at_ms):
    """One row, for tests and for drivers in Python."""
    file.write(_EVENT.pack(n, at_ms))
