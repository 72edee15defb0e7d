"""A test in the place of a container runtime: it calls the plugin of a node for sandboxes that no pod has."""

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from azurebox.steps import wait_for
from scenarios.harness.node import BINARY, CONFLIST, Answer, Node
from scenarios.harness.pods import NAMESPACE

VERSION = "1.1.0"
IFNAME = "eth0"
LEFT_S = 60
NOTHING: Mapping[str, Any] = {}


@dataclass
class Sandbox:
    """A network namespace in the VM, and what the plugin answered to its ADD."""

    node: Node
    container: str = field(default_factory=lambda: f"scenario-{secrets.token_hex(4)}")
    netns: str = ""
    """Its path, where that is not the usual one."""
    pod: str = ""
    """The name that the runtime says its pod has."""
    binary: str = BINARY
    """The plugin that is called."""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> IPv4Address:
        """What ADD gave it."""
        return IPv4Interface(self.result["ips"][0]["address"]).ip

    @property
    def attachment(self) -> tuple[str, str]:
        """How ledger and runtime name it."""
        return self.container, IFNAME

    def call(self, command: str, config: Mapping[str, object] = NOTHING) -> Answer:
        """One verb for it, as a runtime would call the plugin of the node's conflist."""
        netns = self.netns or f"/run/netns/{self.container}"
        place = {"CNI_NETNS": netns, "CNI_IFNAME": IFNAME, "CNI_CONTAINERID": self.container}
        if self.pod:
            place["CNI_ARGS"] = f"K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={self.pod};K8S_POD_UID={self.container}"
        return call(self.node, command, config, place, binary=self.binary)

    def start_process(self) -> str:
        """Start a process, and wait until it is in the namespace; its number in the VM."""
        sleep = f"ip netns exec {self.container} sleep 600 >/dev/null 2>&1 & echo $!"
        pid = self.node.run("sh", "-c", sleep).strip()
        wait_for(
            lambda: pid in self.node.run("ip", "netns", "pids", self.container).split(),
            timeout_s=LEFT_S,
            what=f"a process in {self.container}",
        )
        return pid

    def check(self, result: Mapping[str, object] | None = None) -> Answer:
        """CHECK with what ADD gave, or another result."""
        return self.call("CHECK", {"prevResult": result or self.result})

    def add(self) -> None:
        """ADD that must succeed."""
        self.result = accepted(self.call("ADD"))

    def inside(self, *argv: str) -> str:
        """Run `ip` in the namespace."""
        return self.node.run("ip", "-n", self.container, *argv)


@contextmanager
def sandboxes(node: Node, *, binary: str = BINARY) -> Iterator[Callable[[], Sandbox]]:
    """Makes sandboxes on a node; each is deleted when the block ends, attached or not."""
    with ExitStack() as stack:

        def make() -> Sandbox:
            made = Sandbox(node, binary=binary)
            node.run("ip", "netns", "add", made.container)
            stack.callback(node.run, "ip", "netns", "delete", made.container)
            stack.callback(made.call, "DEL")
            return made

        yield make


def call(
    node: Node,
    command: str,
    config: Mapping[str, object] = NOTHING,
    environment: Mapping[str, str] = NOTHING,
    *,
    binary: str = BINARY,
) -> Answer:
    """Call the plugin on a node, with the configuration of its conflist and what `config` adds."""
    conflist = json.loads(node.run("cat", CONFLIST))
    conf = {**conflist["plugins"][0], "cniVersion": VERSION, "name": conflist["name"], **config}
    env = {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin", **environment}
    return node.ask([binary], stdin=json.dumps(conf), env=env)


def collect(node: Node, valid: Collection[tuple[str, str]], *, binary: str = BINARY) -> Answer:
    """GC with these attachments as the valid ones."""
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    return call(node, "GC", {"cni.dev/valid-attachments": listed}, binary=binary)


def accepted(answer: Answer) -> dict[str, Any]:
    """Its document, {} when it has none; the test fails unless the plugin succeeded."""
    assert answer.status == 0, answer.output + answer.error
    return dict(json.loads(answer.output or "{}"))


def refused(answer: Answer, code: int, *words: str) -> None:
    """The test fails unless the plugin refused with that code, in these words."""
    assert answer.status != 0
    error = json.loads(answer.output)
    assert error["code"] == code, error
    assert [word for word in words if word not in error["msg"]] == [], error
