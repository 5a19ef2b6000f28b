"""The scenarios themselves, over a system that keeps its promises, and over some that do not: the figures must say so."""

import pathlib
import shutil
import sys
import unittest
from unittest import mock

from harness import scenarios
from harness.peer import ROOT, Peer
from harness.processes import Process, wait_for_port

DRIVER = pathlib.Path(__file__).resolve().parent / "fake_driver.py"
SERVER = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
QUICK = {"MARGIN_MS": 1_000, "QUIET_S": 0.3, "BODIES": 16, "WARM_UP_MIN": 20, "WARM_UP_DUE_MS": 100, "LOOK_AGAIN_S": 0.02}


class Fake(Peer):
    name = "fake"

    def __init__(self, flaw=""):
        super().__init__("disk")
        self.flaw = flaw

    def prepare(self):
        self.version = "1"

    def start_processes(self, server):
        process = server.run(Process("fake", [sys.executable, "-c", SERVER, server.ports[0]], server.log("server")))
        wait_for_port(server.ports[0], process, 20)

    def driver_command(self):
        return [sys.executable, DRIVER]

    def address(self, server):
        # A warm-up must succeed: its queue has no flaw.
        return f"{server.data}/"

    def server(self, folder):
        server = super().server(folder)
        start = server.driver
        server.driver = lambda role, **options: start(role, **options, flaw=self.flaw if options["queue"] != "warm" else "")
        return server


class Scenarios(unittest.TestCase):
    def setUp(self):
        quick = mock.patch.multiple(scenarios, **QUICK)
        quick.start()
        self.addCleanup(quick.stop)
        self.settings = scenarios.Settings(
            burst_records=200,
            lateness_s=1,
            crash_records=100,
            patience_s=1,
            phase_max_s=60,
            rate_per_s=100,
            delay_ms=(200, 400),
            crash_delay_ms=(300, 900),
        )

    def test_a_burst_that_is_kept(self):
        result = scenarios.burst(Fake(), self.settings)
        self.assertEqual((result["records"], result["accepted"], result["delivered"]), (200, 200, 200))
        self.assertEqual((result["lost"], result["early"], result["duplicates"], result["refused"]), (0, 0, 0, 0))
        self.assertTrue(result["all_accepted_before_due"])
        self.assertGreater(result["ingest_records_per_s"], 100)
        self.assertGreater(result["publish_records_per_s"], 100)
        self.assertGreater(result["disk_bytes_per_record"], 11)
        self.assertGreater(result["memory_mib_waiting"]["resident"], 1)

    def test_a_steady_load_has_small_lateness(self):
        result = scenarios.lateness(Fake(), self.settings)
        self.assertEqual((result["records"], result["lost"], result["early"]), (100, 0, 0))
        self.assertLess(result["lateness_ms"]["p50"], 500)

    def test_what_is_lost_is_told(self):
        result = scenarios.burst(Fake("lose"), self.settings)
        self.assertEqual((result["accepted"], result["delivered"], result["lost"]), (200, 180, 20))
        kept = ROOT / result["kept"]
        self.assertTrue((kept / "burst.received").exists())
        shutil.rmtree(kept)

    def test_what_is_early_is_told(self):
        result = scenarios.lateness(Fake("early"), self.settings)
        self.assertGreater(result["early"], 50)
        self.assertTrue(1 <= result["early_ms_max"] <= 20, result["early_ms_max"])

    def test_what_is_refused_or_comes_twice_is_told(self):
        result = scenarios.burst(Fake("refuse"), self.settings)
        self.assertEqual((result["refused"], result["lost"], result["first_refusal"]), (1, 0, "too many"))
        self.assertEqual(scenarios.burst(Fake("repeat"), self.settings)["duplicates"], 1)

    def test_a_crash_comes_when_half_is_due(self):
        result = scenarios.crash(Fake(), self.settings)
        self.assertEqual((result["accepted"], result["lost"]), (100, 0))
        self.assertTrue(10 <= result["delivered_before_kill"] <= 90, result["delivered_before_kill"])
        self.assertGreater(result["down_ms"], 0)

    def test_a_slow_peer_gets_fewer_records(self):
        self.settings.phase_max_s = 0
        result = scenarios.burst(Fake(), self.settings)
        self.assertEqual((result["records"], result["records_wanted"]), (20, 200))
