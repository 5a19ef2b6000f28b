"""What a peer is to the scenarios: a package that is fetched, a server that is started, killed and started again, and drivers."""

import abc
import pathlib
import shutil
import subprocess

from harness.processes import Driver, Failed, Unavailable, accepts, disk_bytes, free_ports, memory_mib

#: What an accepted record survives: a power cut, because it was forced to disk; or the death of the server's processes.
DURABILITIES = ("disk", "process")
HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent.parent
BUILT = ROOT / "target" / "peers"
FETCH_S = 1200


class Peer(abc.ABC):
    """A product. `prepare` runs once; `server` makes a server with data of its own."""

    name = ""
    #: How an accepted record is made durable, in a few words for the result, by `DURABILITIES`.
    durable_by = {}

    def __init__(self, durability):
        self.durability = durability
        self.sources = HERE / self.name
        self.built = BUILT / self.name
        self.version = None

    @abc.abstractmethod
    def prepare(self):
        """Fetches and builds below target/peers, and finds out `version`. Raises `Unavailable`."""

    @abc.abstractmethod
    def start_processes(self, server):
        """Starts the server's processes on `server.folder` and `server.ports`; returns them once they answer."""

    @abc.abstractmethod
    def driver_command(self):
        """The driver's program, without its arguments."""

    @abc.abstractmethod
    def address(self, server):
        """Where drivers find the server."""

    def choose_ports(self):
        """Free ports of loopback, the same for each start of a server."""
        return free_ports(1)

    def server(self, folder):
        return Server(self, folder)

    def fill_in(self, server, name, **values):
        """Writes a file of the peer's sources to the server's folder, with each `{key}` replaced; returns its path."""
        text = (self.sources / name).read_text()
        for key, value in {"data_dir": server.data, **values}.items():
            text = text.replace("{" + key + "}", str(value))
        path = server.folder / name
        path.write_text(text)
        return path

    def need(self, command, package):
        """The path of a program, or `Unavailable`."""
        # Debian keeps servers in sbin, which is not on everybody's path.
        path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/usr/local/sbin")
        if path is None:
            raise Unavailable(f"{command} is missing: apt-get install {package}")
        return path

    def fetch(self, command, cwd, env=None):
        """Runs a package manager or a compiler, and returns what it printed."""
        self.built.mkdir(parents=True, exist_ok=True)
        try:
            ran = subprocess.run(
                [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=FETCH_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{command[0]}: {error}") from error
        if ran.returncode != 0:
            said = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-6:]
            raise Unavailable(f"`{' '.join(map(str, command))}` failed: " + " | ".join(said))
        return ran.stdout


class Server:
    """One running server of a peer, with data that outlives a kill."""

    def __init__(self, peer, folder):
        self.peer = peer
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.data.mkdir(parents=True)
        self.ports = peer.choose_ports()
        self._processes = []
        self._drivers = []
        #: Set where something was lost: the folder stays.
        self.look_into = False

    def start(self):
        """Started already, or again on the same data."""
        self.peer.start_processes(self)

    def run(self, process):
        """Registers a process at once: whatever fails next, it will be ended."""
        self._processes.append(process)
        return process

    def log(self, name):
        return self.folder / f"{name}.log"

    def kill(self):
        """kill -9 of all of it."""
        for process in self._processes:
            process.kill()
        self._processes.clear()
        if any(accepts(port) for port in self.ports):
            raise Failed(f"{self.peer.name} still accepts connections on {self.ports} after it was killed")

    def stop(self):
        """Drivers first. Goes on to the last process, whatever happens."""
        for one in [*self._drivers, *reversed(self._processes)]:
            one.stop()
        self._drivers.clear()
        self._processes.clear()

    def check_alive(self):
        for one in [*self._processes, *self._drivers]:
            one.check_alive()

    def driver(self, role, **options):
        """A driver process with `role` and options as `key=value`."""
        options = {"server": self.peer.address(self), **options}
        name = f"{self.peer.name}-{role}-{options['queue']}"
        command = [*self.peer.driver_command(), role, *(f"{key}={value}" for key, value in options.items())]
        driver = Driver(name, command, self.log(name))
        self._drivers.append(driver)
        return driver

    def end(self, driver):
        self._drivers.remove(driver)
        driver.stop()

    def memory_mib(self):
        return memory_mib(self._processes)

    def disk_bytes(self):
        return disk_bytes(self.data)
