"""Starting and ending processes: what was started is gone afterwards, and nothing else is touched."""

import pathlib
import sys
import tempfile
import time
import unittest

from harness.peer import Peer, Server
from harness.processes import Driver, Failed, Process, Unavailable, accepts, disk_bytes, free_ports, memory_mib, wait_for_port

#: A server with a process of its own below it, which holds the port.
SERVER = """
import socket, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", '''
import socket, sys, time
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
''', sys.argv[1]])
time.sleep(600)
"""
DRIVER = """
import json, sys
print("not json")
print(json.dumps({"ready": True}), flush=True)
print(json.dumps({"told": sys.stdin.readline().strip()}), flush=True)
sys.stdin.read()
"""


class Fake(Peer):
    name = "fake"

    def prepare(self):
        self.version = "1"

    def start_processes(self, server):
        (port,) = server.ports
        process = server.run(Process("fake", [sys.executable, "-c", SERVER, port], server.log("server")))
        wait_for_port(port, process, 20)

    def driver_command(self):
        return [sys.executable, "-c", DRIVER]

    def address(self, server):
        return f"127.0.0.1:{server.ports[0]}"


class Processes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_a_killed_server_has_let_go_of_its_port_and_starts_again(self):
        server = Server(Fake("disk"), self.folder / "server")
        self.addCleanup(server.stop)
        for _ in range(3):
            server.start()
            self.assertTrue(accepts(server.ports[0]))
            self.assertGreater(server.memory_mib()["resident"], 5)
            server.kill()
            self.assertFalse(accepts(server.ports[0]))

    def test_a_driver_says_and_is_told_and_ends_with_its_input(self):
        server = Server(Fake("disk"), self.folder / "server")
        self.addCleanup(server.stop)
        driver = server.driver("send", queue="q")
        self.assertTrue(driver.expect("ready", 20))
        driver.tell("start 5")
        self.assertEqual(driver.expect("told", 20), "start 5")
        started = time.monotonic()
        server.end(driver)
        self.assertLess(time.monotonic() - started, 10)

    def test_what_a_driver_never_says_is_a_failure_with_its_log(self):
        driver = Driver("broken", [sys.executable, "-c", "raise SystemExit('no such server')"], self.folder / "log")
        self.addCleanup(driver.stop)
        with self.assertRaisesRegex(Failed, "no such server"):
            driver.expect("ready", 20)

    def test_a_server_that_ends_at_once_is_a_failure_with_its_log(self):
        process = Process("broken", [sys.executable, "-c", "raise SystemExit('bad config')"], self.folder / "log")
        self.addCleanup(process.kill)
        with self.assertRaisesRegex(Failed, "bad config"):
            wait_for_port(free_ports(1)[0], process, 20)

    def test_a_program_that_is_missing_makes_a_peer_unavailable(self):
        with self.assertRaisesRegex(Unavailable, "apt-get install no-such-package"):
            Fake("disk").need("no-such-program", "no-such-package")
        with self.assertRaises(Unavailable):
            Process("missing", ["./no-such-program"], self.folder / "log")

    def test_disk_counts_what_is_written_not_what_is_laid_out(self):
        with open(self.folder / "sparse", "wb") as file:
            file.truncate(1 << 30)
            file.write(b"x" * 4096)
        self.assertLess(disk_bytes(self.folder), 1 << 20)

    def test_nothing_that_runs_takes_nothing(self):
        self.assertEqual(memory_mib([]), {"resident": 0.0, "anonymous": 0.0})
