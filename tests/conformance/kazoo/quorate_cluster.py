"""Lets kazoo's own test suite run against three quorate servers.

Comes in: QUORATE, the binary; QUORATE_FOLDER, an empty folder. Goes out: what kazoo's harness calls a
cluster: servers that are started, stopped and asked for their addresses; `outcomes.txt` in that folder: a
line for each test that ran, `passed`, `failed` or `skipped` and its name. Loaded as a pytest plugin, so
that not a line of the suite is changed. Must never hide a failure: a test that cannot run here is named
with its reason in `known.txt`, and nowhere else.
"""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import kazoo.testing.common as common
import kazoo.testing.harness as harness

BINARY = os.environ["QUORATE"]
FOLDER = Path(os.environ["QUORATE_FOLDER"])
SETTINGS = """read_only_mode = true
four_letter_words = "*"
connections_per_address_max = 0
reconfig_enabled = true
super_digest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="

[[zookeeper.users]]
name = "super"
password = "super_secret"

[[zookeeper.users]]
name = "jaasuser"
password = "jaas_password"
"""

outcomes = {}


class Server:
    """One server process, with what the harness knows of a ZooKeeper."""

    def __init__(self, folder):
        self.folder = folder
        self.configuration = folder / "quorate.toml"
        text = self.configuration.read_text()
        section = re.search(
            r"\[zookeeper\]\nlisten = \"(.*)\"\nlisten_tls = \"(.*)\"\n(?:.*\n)*?\n", text
        )
        self.address, self.secure_address = section.groups()
        # The harness makes a cluster more than once; its folder stays.
        if SETTINGS not in text:
            listen = f'listen = "{self.address}"\nlisten_tls = "{self.secure_address}"'
            named = f"[zookeeper]\n{listen}\n{SETTINGS}\n"
            self.configuration.write_text(text.replace(section.group(0), named))
        self.client_port = int(self.address.rsplit(":", 1)[1])
        self.process = None

    @property
    def running(self):
        return self.process is not None

    def run(self):
        if self.running:
            return
        with open(self.folder / "server.log", "a") as log:
            command = [BINARY, "serve", "--config", str(self.configuration)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self):
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    destroy = stop

    def get_logs(self, num_lines=100):
        path = self.folder / "server.log"
        return path.read_text().splitlines(True)[-num_lines:] if path.exists() else []


class Cluster(list):
    """Three servers of a cluster that `quorate dev` wrote."""

    def __init__(self, **_ignored):
        dev = FOLDER / "dev"
        command = [BINARY, "dev", "--bare", "--servers", "3", "--port", "0", "--dir", str(dev)]
        environment = {**os.environ, "XDG_CONFIG_HOME": str(FOLDER)}
        writing = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert writing.stdout.readline().startswith("ready"), "the cluster could not be written"
        writing.send_signal(signal.SIGINT)
        writing.wait()
        super().__init__(Server(dev / f"server-{number}") for number in (1, 2, 3))

    def start(self):
        for server in self:
            server.run()
        deadline = time.monotonic() + 30
        while not all(map(serves, self)) and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self):
        for server in self:
            server.stop()

    terminate = stop

    def get_logs(self):
        return [line for server in self for line in server.get_logs()]

    def get_ssl_client_configuration(self):
        """Key, certificate and authority of the client that `quorate dev` made."""
        folder = FOLDER / "dev" / "client"
        files = {
            "client_key": "admin-key.pem",
            "client_cert": "admin.pem",
            "ca_cert": "authority.pem",
        }
        return {name: (folder / file).read_bytes() for name, file in files.items()}


def serves(server):
    try:
        with socket.create_connection((server.address.rsplit(":", 1)[0], server.client_port)) as asked:
            asked.sendall(b"isro")
            return asked.recv(16) == b"rw"
    except OSError:
        return False


common.ZookeeperCluster = Cluster
harness.ZookeeperCluster = Cluster
os.environ.setdefault("ZOOKEEPER_VERSION", "3.8.0")


def pytest_runtest_logreport(report):
    # What fails before or after a test fails it; else the test itself decides.
    outcomes.setdefault(report.nodeid, "passed")
    if report.outcome != "passed" and outcomes[report.nodeid] != "failed":
        outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish():
    # Without the folder, which is another on every machine.
    lines = [f"{outcome} {test.rsplit('/', 1)[-1]}\n" for test, outcome in outcomes.items()]
    (FOLDER / "outcomes.txt").write_text("".join(lines))
