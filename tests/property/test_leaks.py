"""Whatever order runtime, agent and kubelet die in: living sandboxes keep their addresses, dead ones give them back.

The repair, the sandboxes, the ledger and the demand are the product's, on a kernel and a store in memory. Around them a
node: pods that come and go, a runtime that loses its records or dies between an ADD and writing it down, processes that
outlive it or die before it, DELs that get lost, a watch that breaks, and agents that end at any time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Holder, LinkParameters, Sandbox
from azure_cni.ipam.ledger import Ledger
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.leaks import Leaks
from azure_cni.node.pods.liveness import GRACE_S
from azure_cni.node.pods.repair import Repair
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger
from fakes.clocks import ManualClock
from fakes.egress import node_egress
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore, without_network
from fakes.observer import RecordingObserver
from simulation.datapath import FakeDatapath
from unit.ipam.views import view

ADDRESSES: Final = 24
PASS_S: Final = 10.0
NETWORKS: Final = ("azure-cni", "storage")


@dataclass(eq=False)
class Made:
    """A sandbox as the runtime made it."""

    holder: Holder
    known: bool = True
    """The runtime has it in its records, and will send a DEL when it is stopped."""


@dataclass
class Node:
    """One node: what the API server has, what runs, and the agent of the moment."""

    clock: ManualClock = field(default_factory=ManualClock)
    datapath: FakeDatapath = field(default_factory=FakeDatapath)
    pods: dict[str, str] = field(default_factory=dict)
    """Name by UID, as the API server has them."""
    made: list[Made] = field(default_factory=list)
    watching: bool = True
    count: int = 0
    store: FakeLedgerStore = field(default_factory=FakeLedgerStore)

    def __post_init__(self) -> None:
        ledger = Ledger()
        ledger.apply(ledger.observe(view(range(1, ADDRESSES + 1)), now_s=0.0).change)
        self.store = FakeLedgerStore(ledger.slots)
        self.start_agent()

    def start_agent(self) -> None:
        """The next agent, with what the one before left: its ledger and the kernel."""
        state = NodeState()
        state.link = LinkParameters(1500, IPv4Address("10.240.0.250"))
        self.stored = StoredLedger(store=self.store, broadcast=state.broadcast)
        self.demand, self.wants_list = Demand(), True
        common: dict[str, Any] = {"stored": self.stored, "datapath": self.datapath, "observer": RecordingObserver()}
        parts = common | {"demand": self.demand, "clock": self.clock}
        here: dict[str, Any] = {"state": state, "events": FakeEvents(), "egress": node_egress(self.stored, self.demand)}
        self.sandboxes = Sandboxes(**parts, **here, wake=lambda: None)
        leaks = Leaks(**parts, sandboxes=self.sandboxes, relist=self.relist)
        self.repair = Repair(**common, sandboxes=self.sandboxes, leaks=leaks)

    def relist(self) -> None:
        self.wants_list = True

    def body(self, uid: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "default", "name": self.pods[uid], "uid": uid}, "spec": {}, "status": {}}

    # What others do. Each takes a number by which it chooses.

    async def create_pod(self, number: int) -> None:
        self.count += 1
        uid = f"uid-{self.count}"
        self.pods[uid] = f"pod-{number % 3}"  # a StatefulSet's come again under their names
        if self.watching:
            self.demand.observe_pod(self.body(uid))

    async def run_pod(self, number: int) -> None:
        """The kubelet has a sandbox made for a pod that has none which the runtime knows."""
        running = {one.holder.pod_uid for one in self.made if one.known}
        waiting = [uid for uid in self.pods if uid not in running]
        if not waiting:
            return
        uid = waiting[number % len(waiting)]
        self.count += 1
        container = f"container-{self.count}"
        network = NETWORKS[number % 2]
        holder = Holder(Sandbox(network, container, "eth0"), f"/run/netns/{container}", "default", self.pods[uid], uid)
        try:
            await self.sandboxes.add(holder)
        except AzureCniError:  # no address left
            return
        self.made.append(Made(holder))
        self.clock.now_s += 0.5

    async def start_process(self, number: int) -> None:
        idle = [one for one in self.made if one.known and not self.lives(one)]
        if idle and idle[number % len(idle)].holder.netns not in self.datapath.gone:
            self.datapath.processes[idle[number % len(idle)].holder.netns] = 1

    async def lose_records(self, number: int) -> None:
        """The runtime is killed and its state wiped; the processes may die with it, all or some."""
        for position, one in enumerate(self.made):
            one.known = False
            if number % 3 == 0 or (number % 3 == 1 and position % 2):
                self.datapath.processes.pop(one.holder.netns, None)

    async def stop(self, number: int) -> None:
        """The runtime stops a sandbox that it knows; its DEL arrives, or does not, and the namespace may stay."""
        known = [one for one in self.made if one.known]
        if not known:
            return
        one = known[number % len(known)]
        one.known = False
        self.datapath.processes.pop(one.holder.netns, None)
        if number % 3:
            await self.sandboxes.delete(one.holder.sandbox)
        if number % 2:
            self.datapath.remove_netns(one.holder.netns)

    async def delete_pod(self, number: int) -> None:
        """By force: whatever runs goes on."""
        if not self.pods:
            return
        uid = sorted(self.pods)[number % len(self.pods)]
        del self.pods[uid]
        if self.watching:
            self.demand.forget_pod(uid)

    async def break_or_mend_watch(self, number: int) -> None:
        self.watching = not self.watching
        if self.watching:
            self.wants_list = True

    async def collect(self, number: int) -> None:
        """GC of one network: what the runtime knows of it stays, and so does what is not of it."""
        network = NETWORKS[number % 2]
        known = {one.holder.sandbox for one in self.made if one.known and one.holder.sandbox.network == network}
        held = [one for one in self.made if self.stored.ledger.holding(one.holder.sandbox)]
        kept = [one for one in held if one.known or one.holder.sandbox.network != network]
        wired = [one for one in kept if self.is_wired(one)]
        await self.sandboxes.collect(network, known)
        for one in kept:
            assert self.stored.ledger.holding(one.holder.sandbox), f"a GC of {network} took an address: {one}"
        assert all(self.is_wired(one) for one in wired), f"a GC of {network} cut one off"

    async def restart_agent(self, number: int) -> None:
        """The next may be the first that writes networks down: it finds the rows without."""
        if number % 2:
            self.store = FakeLedgerStore(without_network(slot) for slot in self.store.load())
        self.start_agent()

    async def wait(self, number: int) -> None:
        """Up to two minutes go by, with a pass each ten seconds; the API server may be away for as long."""
        for _ in range(2 * number + 1):
            await self.one_pass(listing=number % 2 == 0)

    async def one_pass(self, *, listing: bool) -> None:
        if listing and self.wants_list:
            self.wants_list = False
            self.demand.begin_list()
            self.demand.replace([self.body(uid) for uid in self.pods])
        living = [one for one in self.made if self.is_alive(one)]
        await self.repair.compare()
        for one in living:
            assert self.stored.ledger.holding(one.holder.sandbox), f"a living sandbox lost its address: {one}"
            assert self.is_wired(one), f"a living sandbox lost its link: {one}"
        self.clock.now_s += PASS_S

    # What is true.

    def lives(self, one: Made) -> bool:
        return bool(self.datapath.processes.get(one.holder.netns))

    def is_wired(self, one: Made) -> bool:
        return any(wired.netns == one.holder.netns for wired in self.datapath.wired.values())

    def is_newest(self, one: Made) -> bool:
        same = [other for other in self.made if other.holder.pod_uid == one.holder.pod_uid]
        return [other for other in same if self.stored.ledger.holding(other.holder.sandbox)][-1:] == [one]

    def is_alive(self, one: Made) -> bool:
        """It has its address and its link, and processes in it or a pod that it may yet be for."""
        held = bool(self.stored.ledger.holding(one.holder.sandbox))
        wanted = one.holder.pod_uid in self.pods and self.is_newest(one)
        return held and self.is_wired(one) and (self.lives(one) or wanted)

    def is_needed(self, one: Made) -> bool:
        return self.lives(one) or (one.holder.pod_uid in self.pods and self.is_newest(one))


ACTS: Final = (
    Node.create_pod,
    Node.run_pod,
    Node.run_pod,
    Node.start_process,
    Node.lose_records,
    Node.stop,
    Node.delete_pod,
    Node.break_or_mend_watch,
    Node.restart_agent,
    Node.collect,
    Node.wait,
    Node.wait,
)


async def walk(steps: list[tuple[int, int]]) -> None:
    node = Node()
    for act, number in steps:
        await ACTS[act](node, number)
    node.watching = True
    node.wants_list = True
    for _ in range(int(3 * GRACE_S / PASS_S)):
        await node.one_pass(listing=True)
    held = [one for one in node.made if node.stored.ledger.holding(one.holder.sandbox)]
    dead = [one for one in held if not node.is_needed(one)]
    assert not dead, f"dead sandboxes keep their addresses: {dead}"
    assert len(node.datapath.wired) <= len(held)


MISSED_BY_THE_WATCH: Final = [
    (ACTS.index(Node.create_pod), 0),
    (ACTS.index(Node.break_or_mend_watch), 0),
    (ACTS.index(Node.create_pod), 1),
    (ACTS.index(Node.run_pod), 1),
    (ACTS.index(Node.wait), 5),
]
"""A pod that no process has started in for longer than the grace time, and that the agent has not heard of."""


@settings(max_examples=200)
@example(MISSED_BY_THE_WATCH)
@given(st.lists(st.tuples(st.integers(0, len(ACTS) - 1), st.integers(0, 5)), max_size=40))
def test_living_sandboxes_keep_their_addresses_and_dead_ones_give_them_back(steps: list[tuple[int, int]]) -> None:
    asyncio.run(walk(steps))
