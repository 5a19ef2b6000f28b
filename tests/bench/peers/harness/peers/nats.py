"""NATS JetStream: scheduled messages (server 2.12 and later), built from the Go module proxy at the version in nats/go.mod."""

from harness.peer import Peer
from harness.processes import Process, wait_for_port

READY_S = 60


class Nats(Peer):
    name = "nats"
    durable_by = {
        "disk": "file storage, sync_interval: always; publishes confirmed by the stream",
        "process": "file storage, sync_interval: 2m (default); publishes confirmed by the stream",
    }

    def prepare(self):
        go = self.need("go", "golang")
        for program, package in (("nats-server", "github.com/nats-io/nats-server/v2"), ("driver", ".")):
            self.fetch([go, "build", "-mod=readonly", "-trimpath", "-o", self.built / program, package], cwd=self.sources)
        self.version = self.fetch([self.built / "nats-server", "--version"], cwd=self.sources).split()[-1]

    def start_processes(self, server):
        (port,) = server.ports
        sync = {"disk": "always", "process": "2m"}[self.durability]
        path = self.fill_in(server, "server.conf", port=port, sync_interval=sync)
        process = server.run(Process("nats-server", [self.built / "nats-server", "-c", path], server.log("server")))
        wait_for_port(port, process, READY_S)

    def driver_command(self):
        return [self.built / "driver"]

    def address(self, server):
        return f"nats://127.0.0.1:{server.ports[0]}"
