"""A node, its HNS, its Azure and its API server; and what a runtime or an operator does with them."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from azure_cni.cni.systems import WINDOWS
from azurebox.steps import StepError, wait_for
from fakehns.server import HnsServer
from fakehns.service import FakeHns
from windows.ground import Ground
from windows.node import Outcome, WindowsNode
from windows.surroundings import METRICS_PORT, PRIMARY, Surroundings

NIC: Final = "eth0"
"""As Wine names the interface of this machine."""
SERVES_S: Final = 300.0
RESTS_S: Final = 120.0


class World:
    """One node. Pods are named by their container."""

    def __init__(self, ground: Ground, directory: Path) -> None:
        self._ground = ground
        self.hns = FakeHns(adapters={NIC})
        self.service = HnsServer(self.hns)
        self.around = Surroundings(directory)
        self._directory = directory
        self._namespaces: dict[str, str] = {}
        self._stack = ExitStack()
        self.node: WindowsNode

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _make_nic(self.around.mac)
            stack.callback(subprocess.run, ["ip", "link", "delete", NIC], check=True)
            stack.enter_context(self.service)
            stack.enter_context(self.around)
            self.node = WindowsNode(self._ground, self._directory, service_port=self.service.port)
            self.node.make()
            stack.callback(self.node.power_off)
            self.node.boot()
            self.start_agent()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_agent(self) -> None:
        """And wait until pods can start."""
        self.node.start_agent(self.around.settings_on(self.node))
        wait_for(self._serves, timeout_s=SERVES_S, what="the agent to serve", explain=lambda: self.said(25))

    def kill_agent(self) -> None:
        """At once, as a fault would."""
        agent = self.node.agent
        assert agent is not None
        agent.kill()
        agent.wait()

    def reboot(self) -> None:
        """Power off, HNS forgets what is not persistent, the runtime's namespaces are gone, and on again."""
        self.node.power_off()
        self.hns.restart()
        for namespace in self._namespaces.values():
            self.hns.forget("Namespace", namespace)
        self._namespaces.clear()
        self.node.boot()

    def add(self, container: str, **changes: object) -> Outcome:
        """In a namespace of its own, which a repeat finds there."""
        if container not in self._namespaces:
            self._namespaces[container] = self.hns.add_namespace()
        return self.node.plugin("ADD", container, self._namespaces[container], **changes)

    def check(self, container: str, result: Outcome) -> Outcome:
        """Whether it is still as the ADD made it."""
        return self.node.plugin("CHECK", container, self._namespaces[container], prevResult=result.said)

    def delete(self, container: str) -> Outcome:
        """And then the runtime removes the namespace."""
        namespace = self._namespaces.get(container, "")
        done = self.node.plugin("DEL", container, namespace)
        if namespace and done.status == 0:
            self.hns.forget("Namespace", self._namespaces.pop(container))
        return done

    def delete_all(self) -> None:
        """What a test that failed has left, so that the next one does not fail as well."""
        for container in list(self._namespaces):
            self.delete(container)

    @property
    def wired(self) -> set[str]:
        """Addresses of endpoints in namespaces, as HNS has them."""
        found = (one for one in self.hns.endpoints() if one.get("HostComputeNamespace"))
        return {one["IpConfigurations"][0]["IpAddress"] for one in found}

    @property
    def records(self) -> list[str]:
        """DELs that no agent answered."""
        return sorted(path.name for path in (self.node.file(WINDOWS.run_dir) / "released").glob("*.json"))

    def counts(self) -> dict[str, int]:
        """The node's addresses by state, from the agent's metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return dict(_by_state(lines))

    def await_counts(self, **wanted: int) -> None:
        """Until these are right."""
        wait_for(
            lambda: wanted.items() <= self.counts().items(),
            timeout_s=RESTS_S,
            what=f"the counts {wanted}",
            explain=lambda: f"{self.counts()}",
        )

    def said(self, lines: int) -> str:
        """The last lines of the agent's log."""
        log = self.node.agent_log
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    def _serves(self) -> bool:
        agent = self.node.agent
        if agent is not None and agent.poll() is not None:
            raise StepError(f"the agent has ended with {agent.returncode}", output=self.said(25))
        if not (self.node.file(WINDOWS.conf_dir) / "10-azure-cni.conflist").exists():
            return False
        try:
            return self.node.plugin("STATUS", cniVersion="1.1.0").status == 0 and bool(self.counts())
        except urllib.error.URLError:
            return False


def _make_nic(mac: str) -> None:
    """The VM's, as DHCP has left it."""
    for line in (
        f"link add {NIC} address {mac} type bridge",
        f"address add {PRIMARY}/22 dev {NIC}",
        f"link set {NIC} up",
        f"route add default via 10.240.0.1 dev {NIC}",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def _by_state(lines: Iterable[str]) -> Iterable[tuple[str, int]]:
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name.startswith('azure_cni_pool_addresses{state="'):
            yield name.split('"')[1], int(float(value))
