"""Dead sandboxes on a real kernel: their addresses come back, and the links of living ones stay."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from azure_cni.ipam.address_state import Holder, LinkParameters, Sandbox
from azure_cni.ipam.ledger import Ledger
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.leaks import Leaks
from azure_cni.node.pods.repair import Repair
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger
from datapath.namespaces import NEEDS_ROOT, OUR_RULE, Namespace, Namespaces
from fakes.clocks import ManualClock
from fakes.egress import node_egress
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.observer import RecordingObserver
from fakes.simulated_node import pod_body
from unit.ipam.views import view

pytestmark = NEEDS_ROOT


@dataclass
class Node:
    """The use cases on the kernel of one namespace, with a clock that the test moves."""

    datapath: LinuxDatapath
    namespaces: Namespaces
    clock: ManualClock = field(default_factory=ManualClock)
    demand: Demand = field(default_factory=Demand)
    observer: RecordingObserver = field(default_factory=RecordingObserver)

    def __post_init__(self) -> None:
        ledger, state = Ledger(), NodeState()
        ledger.apply(ledger.observe(view(range(1, 9)), now_s=0.0).change)
        state.link = LinkParameters(1500, IPv4Address("10.240.0.200"))
        self.stored = StoredLedger(store=FakeLedgerStore(ledger.slots), broadcast=state.broadcast)
        common: dict[str, Any] = {"stored": self.stored, "datapath": self.datapath, "observer": self.observer}
        parts = common | {"demand": self.demand, "clock": self.clock}
        here: dict[str, Any] = {"state": state, "events": FakeEvents(), "egress": node_egress(self.stored, self.demand)}
        self.sandboxes = Sandboxes(**parts, **here, wake=lambda: None)
        leaks = Leaks(**parts, sandboxes=self.sandboxes, relist=self.list_pods)
        self.repair = Repair(**common, sandboxes=self.sandboxes, leaks=leaks)

    def list_pods(self) -> None:
        """The API server has the pod p, and no other."""
        self.demand.begin_list()
        self.demand.replace([pod_body("p", phase="Running", ip="10.240.0.1")])

    async def add(self, pod: str) -> tuple[Holder, Namespace]:
        """A sandbox of the pod in a namespace of its own; each is a second younger than the one before."""
        netns = self.namespaces.new()
        holder = Holder(Sandbox("azure-cni", netns.name, "eth0"), netns.path, "default", pod, f"uid-{pod}")
        await self.sandboxes.add(holder)
        self.clock.now_s += 1.0
        return holder, netns

    async def grace(self) -> None:
        """The grace time goes by, with a pass each ten seconds."""
        for _ in range(9):
            await self.repair.compare()
            self.clock.now_s += 10.0

    @property
    def held(self) -> set[Holder]:
        return {slot.holder for slot in self.stored.ledger.slots if slot.holder is not None}


@contextmanager
def process_in(netns: Namespace) -> Iterator[None]:
    """Something runs there."""
    command = ["nsenter", f"--net={netns.path}", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


async def test_dead_sandboxes_are_taken_down_and_living_ones_stay(namespaces: Namespaces) -> None:
    place = namespaces.new("node")
    place.ip("link", "add", "eth0", "type", "bridge")
    place.ip("address", "add", "10.240.0.200/22", "dev", "eth0")
    place.ip("link", "set", "eth0", "up")
    place.ip("rule", "add", "pref", *OUR_RULE.split())
    datapath = LinuxDatapath(node_netns=place.path, processes=Path("/proc"))
    node = Node(datapath, namespaces)
    node.list_pods()
    forgotten, forgotten_netns = await node.add("p")  # its runtime lost its records, and its processes ended
    outlived, outlived_netns = await node.add("p")  # ... and its processes did not
    newest, _ = await node.add("p")  # no process in it yet
    orphan, orphan_netns = await node.add("gone")  # the runtime died between ADD and its own records
    running, running_netns = await node.add("forced")  # its pod was deleted by force
    with process_in(outlived_netns), process_in(running_netns):
        await node.grace()
        assert node.held == {outlived, newest, running}
        await datapath.settle()
        for netns in (forgotten_netns, orphan_netns):
            assert netns.links() == {"lo"}
        assert "eth0" in outlived_netns.links()
        assert node.observer.recorded.count(("repaired", "leaked_address")) == 2
    await node.grace()
    await node.grace()
    assert node.held == {newest}
    held = node.stored.ledger.holding(newest.sandbox)
    await node.sandboxes.check(newest, expected=[slot.address for slot in held])
    assert {forgotten, orphan, running}.isdisjoint(node.held)
    await datapath.close()
