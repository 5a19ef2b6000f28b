"""What goes into a run: bodies, plans, and the files between harness and drivers."""

import hashlib
import json
import pathlib
import tempfile
import unittest

from harness import plans, rows
from harness.bodies import Sequence, body, write_bodies

#: SHA-256 of the first 1,000 bodies of 1 KiB that `delayq bench` sends from its default sequence, each with a newline.
BODIES_OF_DELAYQ = "a69d5c722b373fa8beb3dc4ea41cb5e97e7535a3d30afe7d321b67f3e7014f7a"


class Bodies(unittest.TestCase):
    def test_they_are_those_of_delayq_bench(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bodies"
            write_bodies(path, 1000)
            self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), BODIES_OF_DELAYQ)

    def test_each_shape_is_json_of_about_the_size(self):
        random = Sequence()
        for n in range(8):
            text = body(n, 1024, random)
            json.loads(text)
            self.assertTrue(800 <= len(text) <= 1100, len(text))


class Plans(unittest.TestCase):
    def test_an_open_loop_has_its_moments_and_due_times_that_count_from_them(self):
        plan = plans.open_loop(100, 2, 30, 40)
        self.assertEqual(len(plan), 200)
        self.assertEqual([send_ms for send_ms, _ in plan[:3]], [0, 10, 20])
        self.assertEqual(plan[-1][0], 1990)
        delays = {due_ms - send_ms for send_ms, due_ms in plan}
        self.assertEqual(delays, set(range(30, 41)))

    def test_spread_stays_within_its_range(self):
        due = [due_ms for _, due_ms in plans.spread(1000, 100, 109)]
        self.assertEqual(set(due), set(range(100, 110)))


class Logs(unittest.TestCase):
    def test_a_row_that_is_half_written_waits_for_the_rest(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "log"
            log = rows.EventLog(path)
            self.assertEqual(log.new_events(), [])
            with open(path, "wb") as file:
                rows.append_event(file, 1, 1_800_000_000_000)
                rows.append_event(file, 2, 1_800_000_000_001)
            whole = path.read_bytes()
            path.write_bytes(whole[:-5])
            self.assertEqual(log.new_events(), [(1, 1_800_000_000_000)])
            path.write_bytes(whole)
            self.assertEqual(log.new_events(), [(2, 1_800_000_000_001)])
