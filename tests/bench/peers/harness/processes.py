"""Starts and ends processes, and looks at what they take. Ends only what it started: each has a process group of its own."""

import ctypes
import json
import os
import pathlib
import queue
import random
import signal
import socket
import subprocess
import threading
import time

STOP_S = 15
PR_SET_PDEATHSIG = 1
PORT_MIN, PORT_END = 12_000, 32_000


class Unavailable(Exception):
    """A peer that cannot be installed or started; the text says why, and what would help."""


class Failed(Exception):
    """A scenario that could not be carried through; the text says why."""


def free_ports(count):
    """Ports of the loopback interface that nobody has now.

    Below the range from which the system takes the ports of clients: while a server is down, a client that tries again and again
    could otherwise be given the server's own port, connect to itself, and keep the server from coming back.
    """
    found = []
    while len(found) < count:
        port = random.randrange(PORT_MIN, PORT_END)
        if port not in found and is_free(port):
            found.append(port)
    return found


def is_free(port):
    """Whether nobody has this port now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def accepts(port):
    """Whether somebody accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port, server, patience_s):
    """Until something accepts connections, as long as the process lives."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        server.check_alive()
        if accepts(port):
            return
        time.sleep(0.02)
    raise Failed(f"{server.name} does not listen on port {port} after {patience_s} s; the end of its log:\n{server.log_tail()}")


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One process with its group, its output in a file."""

    def __init__(self, name, command, log_path, env=None, cwd=None, stdin=None, stdout=None):
        self.name = name
        self._log_path = pathlib.Path(log_path)
        with open(log_path, "ab") as log:
            try:
                self._child = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=stdin if stdin is not None else subprocess.DEVNULL,
                    stdout=stdout if stdout is not None else log,
                    stderr=log,
                    env={**os.environ, **(env or {})},
                    cwd=cwd,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
            except OSError as error:
                raise Unavailable(f"{name} does not start: {error}") from error

    @property
    def child(self):
        return self._child

    def check_alive(self):
        code = self._child.poll()
        if code is not None:
            raise Failed(f"{self.name} ended with code {code}; the end of its log:\n{self.log_tail()}")

    def log_tail(self, lines=12):
        text = self._log_path.read_text(errors="replace") if self._log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def kill(self):
        """As a crash: no process of the group has time for anything."""
        self._signal(signal.SIGKILL)
        self._child.wait()
        deadline = time.monotonic() + STOP_S
        # Those that it started are not our children, but hold its ports and files until they are gone.
        while left := self.group():
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: processes {left} outlive SIGKILL by {STOP_S} s")
            time.sleep(0.005)

    def stop(self):
        """In good order, or by force if it takes too long."""
        if self._child.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def _signal(self, number):
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            pass

    def group(self):
        """Ids of the processes of this group: those that it started as well. Not those that are dead and wait to be looked at."""
        pids = (int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if _live_group(pid) == self._child.pid]


class Driver:
    """A driver process: it says what happens as JSON lines, is told when to start, and ends when its input ends."""

    def __init__(self, name, command, log_path):
        self._process = Process(name, command, log_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        for line in self._process.child.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def expect(self, key, patience_s):
        """The value of the next line that has this key."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                raise Failed(
                    f"{self._process.name} has not said {key!r} within {patience_s:.0f} s; "
                    f"the end of its log:\n{self._process.log_tail()}"
                ) from None
            if line is None:
                self._process.child.wait()
                raise Failed(f"{self._process.name} ended before {key!r}; the end of its log:\n{self._process.log_tail()}")
            try:
                said = json.loads(line)
            except ValueError:
                continue  # A library that prints.
            if isinstance(said, dict) and key in said:
                return said[key]

    def finished(self):
        """Whether it has ended or has something to say."""
        return not self._lines.empty()

    def tell(self, text):
        self._process.child.stdin.write(text.encode() + b"\n")
        self._process.child.stdin.flush()

    def check_alive(self):
        self._process.check_alive()

    def stop(self):
        """The end of its input tells it to finish."""
        try:
            self._process.child.stdin.close()
        except OSError:
            pass
        try:
            self._process.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        self._process.kill()
        self._listener.join()
        self._process.child.stdout.close()


def _live_group(pid):
    """The group of a process, by /proc/PID/stat; `None` for one that is gone or dead."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # Its name stands in parentheses and may hold anything.
    fields = stat.rpartition(")")[2].split()
    state, group, threads = fields[0], int(fields[2]), int(fields[17])
    # The first thread of a process may be dead before the others, which still have its files.
    return None if state in "ZX" and threads <= 1 else group


def memory_mib(processes):
    """Resident memory of processes and what they started: all of it, and the part that is not a mapped file."""
    resident_kib = anonymous_kib = 0
    for process in processes:
        for pid in process.group():
            fields = _status(pid)
            resident_kib += fields.get("VmRSS", 0)
            anonymous_kib += fields.get("RssAnon", 0) + fields.get("RssShmem", 0)
    return {"resident": round(resident_kib / 1024, 1), "anonymous": round(anonymous_kib / 1024, 1)}


def _status(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) for name, value in pairs}


def disk_bytes(folder):
    """What the files of a folder take on disk: blocks, so that a file laid out ahead counts by what is written."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
            except OSError:
                continue
    return total
