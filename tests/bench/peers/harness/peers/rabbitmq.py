"""RabbitMQ, by Debian. Its delay plugin is in no package registry, so this is what is done without it: see rabbitmq/driver.js."""

import pathlib
import re

from harness.peer import Peer
from harness.peers import node
from harness.processes import Process, Unavailable, free_ports, wait_for_port

READY_S = 120
PACKAGE = "rabbitmq-server"
#: Debian's own command changes to another user; this is the one behind it.
SCRIPTS = "/usr/lib/rabbitmq/lib"


class RabbitMq(Peer):
    name = "rabbitmq"
    _quorum = "quorum queues, which flush their log before they confirm; at-least-once dead-lettering; publisher confirms"
    durable_by = {"disk": _quorum, "process": _quorum}

    def prepare(self):
        node.install(self)
        self.need("epmd", PACKAGE)
        self.version = re.search(r"rabbitmq_server-([^/]+)/", str(self._script())).group(1) + ", without the delay plugin"

    def _script(self):
        found = sorted(pathlib.Path(SCRIPTS).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
        if not found:
            raise Unavailable(f"no rabbitmq-server below {SCRIPTS}: apt-get install {PACKAGE}")
        return found[-1]

    def choose_ports(self):
        """AMQP, distribution, and Erlang's port mapper."""
        return free_ports(3)

    def start_processes(self, server):
        port, distribution_port, mapper_port = server.ports
        config = self.fill_in(server, "rabbitmq.conf", port=port)
        (server.folder / "enabled_plugins").write_text("[].\n")
        (server.folder / "rabbitmq-env.conf").write_text("")
        environment = {
            "HOME": server.folder,
            "ERL_EPMD_PORT": mapper_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"peer-{port}@localhost",
            "RABBITMQ_DIST_PORT": distribution_port,
            "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_CONF_ENV_FILE": server.folder / "rabbitmq-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": server.folder / "enabled_plugins",
            "RABBITMQ_MNESIA_BASE": server.data,
            "RABBITMQ_LOG_BASE": server.folder,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        environment = {name: str(value) for name, value in environment.items()}
        # A node without one would leave a port mapper of its own behind.
        mapper_command = [self.need("epmd", PACKAGE), "-port", mapper_port, "-address", "127.0.0.1"]
        mapper = server.run(Process("epmd", mapper_command, server.log("epmd"), env=environment))
        wait_for_port(mapper_port, mapper, READY_S)
        process = server.run(Process("rabbitmq-server", [self._script()], server.log("server"), env=environment))
        wait_for_port(port, process, READY_S)

    def driver_command(self):
        return node.driver_command(self)

    def address(self, server):
        return f"127.0.0.1:{server.ports[0]}"
