"""RocketMQ 5's timer messages: name server and broker from their jars, by Maven Central."""

import re

from harness.peer import Peer
from harness.processes import Process, free_ports, is_free, wait_for_port

READY_S = 120
#: The broker's own scripts ask for 8 GiB; this is what leaves room for the others on a small machine.
BROKER_MEMORY = ("-Xms1g", "-Xmx1g", "-XX:MaxDirectMemorySize=1g")
NAMESRV_MEMORY = ("-Xms128m", "-Xmx128m")
DRIVER_MEMORY = ("-Xms256m", "-Xmx1g")


class RocketMq(Peer):
    name = "rocketmq"
    durable_by = {
        "disk": "flushDiskType=SYNC_FLUSH; SEND_OK",
        "process": "flushDiskType=ASYNC_FLUSH (default); SEND_OK",
    }

    def prepare(self):
        maven, javac = self.need("mvn", "maven"), self.need("javac", "default-jdk-headless")
        pom = self.sources / "pom.xml"
        resolved = self.built / "resolved-pom.xml"
        if not resolved.exists() or resolved.read_bytes() != pom.read_bytes():
            goals = ["dependency:copy-dependencies", f"-DoutputDirectory={self.built / 'lib'}", "-DincludeScope=runtime"]
            self.fetch([maven, "-q", "-B", "-f", pom, *goals], cwd=self.sources)
            resolved.write_bytes(pom.read_bytes())
        sources = sorted((self.sources / "src").rglob("*.java"))
        self.fetch([javac, "--release", "17", "-cp", self.built / "lib" / "*", "-d", self.built / "classes", *sources], cwd=self.sources)
        self.version = re.search(r"<rocketmq.version>(.+)</", pom.read_text()).group(1)

    def choose_ports(self):
        """Name server, broker and replication; the broker takes the second one below its own as well."""
        while True:
            namesrv, broker, replication = free_ports(3)
            if broker - 2 not in (namesrv, replication) and is_free(broker - 2):
                return [namesrv, broker, replication]

    def start_processes(self, server):
        namesrv_port, broker_port, ha_port = server.ports
        namesrv = self.fill_in(server, "namesrv.conf", namesrv_port=namesrv_port)
        flush = {"disk": "SYNC_FLUSH", "process": "ASYNC_FLUSH"}[self.durability]
        broker = self.fill_in(
            server, "broker.conf", broker_port=broker_port, ha_port=ha_port, namesrv_port=namesrv_port, flush_disk_type=flush
        )
        self._start(server, "namesrv", NAMESRV_MEMORY, "org.apache.rocketmq.namesrv.NamesrvStartup", namesrv, namesrv_port)
        self._start(server, "broker", BROKER_MEMORY, "org.apache.rocketmq.broker.BrokerStartup", broker, broker_port)

    def _start(self, server, name, memory, main_class, config, port):
        command = [*self._java(server.folder, memory), main_class, "-c", config]
        process = server.run(Process(f"rocketmq-{name}", command, server.log(name), env={"ROCKETMQ_HOME": str(server.folder)}))
        wait_for_port(port, process, READY_S)

    def _java(self, home, memory):
        # Its logs and settings go below the home folder.
        classpath = f"{self.built / 'classes'}:{self.built / 'lib'}/*"
        return [self.need("java", "default-jre-headless"), *memory, f"-Duser.home={home}", "-cp", classpath]

    def driver_command(self):
        return [*self._java(self.built, DRIVER_MEMORY), "peers.Driver"]

    def address(self, server):
        return f"127.0.0.1:{server.ports[0]}"
