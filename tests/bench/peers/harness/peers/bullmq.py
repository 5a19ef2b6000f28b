"""BullMQ's delayed jobs, by npm, on Redis with an append-only file, by Debian."""

import json
import re

from harness.peer import Peer
from harness.peers import node
from harness.processes import Process, wait_for_port

READY_S = 60


class BullMq(Peer):
    name = "bullmq"
    durable_by = {
        "disk": "appendonly yes, appendfsync always; addBulk answered",
        "process": "appendonly yes, appendfsync everysec; addBulk answered",
    }

    def prepare(self):
        redis = self.need("redis-server", "redis-server")
        node.install(self)
        said = self.fetch([redis, "--version"], cwd=self.sources)
        bullmq = json.loads((self.sources / "package.json").read_text())["dependencies"]["bullmq"]
        self.version = f"{bullmq} on Redis {re.search(r'v=([0-9.]+)', said).group(1)}"

    def start_processes(self, server):
        (port,) = server.ports
        fsync = {"disk": "always", "process": "everysec"}[self.durability]
        path = self.fill_in(server, "redis.conf", port=port, appendfsync=fsync)
        redis = self.need("redis-server", "redis-server")
        process = server.run(Process("redis-server", [redis, path], server.log("server")))
        wait_for_port(port, process, READY_S)

    def driver_command(self):
        return node.driver_command(self)

    def address(self, server):
        return f"127.0.0.1:{server.ports[0]}"
