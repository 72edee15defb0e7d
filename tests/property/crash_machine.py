"""A node whose agent dies at a step that the test chooses, with what is left for the agent after it.

What outlives it: the ledger's store, the kernel, the NIC with an operation that may be under way, the objects of the
API server, the directory of recorded DELs, and the runtime's own directories.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, TypeVar

from azure_cni.api.node_ip_pool import READ_NOW
from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.host.run_directory import Released
from azure_cni.ipam.sizing import Policy
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import Address
from azure_cni.node.ports import LinkKey
from fakes import waiting
from fakes.mortal import Fuse
from fakes.nic import FakeNic
from fakes.simulated_node import holder, pod_body
from property.crash_agent import ApiPods, CrashingAgent
from unit.node.attaching import POOLS

T = TypeVar("T")

OPERATION_S: Final = 20.0
"""How long Azure goes on with a write whose caller is gone."""
SETTLED_S: Final = 65.0
"""After this a node at rest has looked at everything once: its table each minute, links twice as often."""
SMALL: Final = Policy(min_free=2, max_free=4, batch=2)


class AgentGone(Exception):
    """What the runtime sees of a request whose agent died."""


class CrashMachine:
    """The node, its runtime and the API server's pods; `directory` is the node's disk."""

    def __init__(self, directory: Path, mode: ModeName, *, policy: Policy = SMALL) -> None:
        self.mode = mode
        self.policy = policy
        self.directory = directory
        self.api_pods = ApiPods()
        self.running: dict[str, IPv4Address] = {}
        """The address of each pod whose ADD the runtime saw succeed, and which has not ended."""
        self.results: dict[str, tuple[Address, ...]] = {}
        """All addresses that an ADD of that name last gave, of both families."""
        self.ending: set[str] = set()
        """Pods of which the runtime wants to be rid, and has no success yet."""
        self.strange: set[LinkKey] = set()
        """Links that no ledger ever had."""
        self.disturbed = False
        """Somebody has done what happens once."""
        self.fuse = Fuse()
        self.node: CrashingAgent | None = None
        self._process: asyncio.Task[None] | None = None
        directory.mkdir()
        (directory / "plugin").write_bytes(b"\x7fELF")
        self.host = HostSettings(
            bin_dir=directory / "bin",
            conf_dir=directory / "net.d",
            conf_name="10-azure-cni.conflist",
            chained=(),
            spec_version="1.0.0",
            run_dir=directory / "run",
            plugin=directory / "plugin",
        )

    # The agent.

    @property
    def agent(self) -> CrashingAgent:
        """The one that runs, or the last."""
        assert self.node is not None
        return self.node

    @property
    def alive(self) -> bool:
        """An agent runs."""
        return self._process is not None

    async def start(self, *, burns_at: int | None = None, **options: Any) -> None:
        """The next agent, on what the one before left; it dies at that step. Pods are listed at once."""
        self.fuse = Fuse()
        self.fuse.burns_at = burns_at
        options = {"mode": self.mode, "policy": self.policy, "before": self.node} | options
        if self.node is None and self.policy.ipv6:
            options.setdefault("nic", FakeNic(ipv6_space="fd00::/64"))
        self.node = self._new_agent(**options)
        self.node.demand.begin_list()
        self.node.demand.replace(list(self.api_pods.bodies.values()))
        self.node.node.namespace_seen({"metadata": {"name": "default"}})
        self._process = asyncio.create_task(self.node.live(self.host))

    def _new_agent(self, **options: Any) -> CrashingAgent:
        return CrashingAgent(self.fuse, pods=self.api_pods, directory=self.directory, **options)

    async def kill(self) -> None:
        """By SIGKILL: no task of it does anything any more. What Azure was asked to do goes on."""
        self.fuse.dead = True
        if self._process is not None:
            self._process.cancel()
            await asyncio.gather(self._process, return_exceptions=True)
        self._process = None
        self._go_on(self.agent.nic)
        self.require_covered()

    @staticmethod
    def _go_on(nic: FakeNic) -> None:
        """Azure carries out what it has accepted, though nobody waits for it."""
        if nic._running is not None:
            asyncio.get_running_loop().call_later(OPERATION_S, nic.finish)

    async def ready(self) -> None:
        """Until the node takes pods: it has addresses, and the conflist is written."""
        conflist = self.host.conf_dir / self.host.conf_name
        await self.until(lambda: self.agent.state.ready and self.agent.counts.allocated > 0 and conflist.is_file())

    async def until(self, fact: Callable[[], bool], *, within_s: float = 1800.0) -> None:
        """AgentGone when the agent dies before; AssertionError when the fact does not come."""
        await self.waited(waiting.until(fact, within_s=within_s, say=self._say))

    def _say(self) -> str:
        return f"{self.agent.state.forecast}, {self.agent.counts}, {self.agent.status}"

    async def waited(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of something that ends with the agent: AgentGone then. An error that ends the agent is raised."""
        asked = asyncio.create_task(work)
        died = asyncio.create_task(self.fuse.died.wait())
        ends: set[asyncio.Task[Any]] = {asked, died} | ({self._process} if self._process else set())
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if self.fuse.dead:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            raise AgentGone
        if not asked.done():
            asked.cancel()
            assert self._process is not None
            self._process.result()
        return asked.result()

    # The runtime.

    def create(self, name: str, **annotations: str) -> None:
        """The pod is scheduled here."""
        self.api_pods.bodies[name] = body = pod_body(name, annotations=annotations)
        if POOLS in annotations:
            body["spec"]["readinessGates"] = [{"conditionType": LOAD_BALANCER_ATTACHED}]
        self.show(name)

    def show(self, name: str) -> None:
        """The watch shows the pod as it is."""
        if self.node is not None and not self.fuse.dead:
            self.node.node.pod_seen(self.api_pods.bodies[name])

    async def add(self, name: str, *, of: str = "") -> None:
        """ADD for the sandbox of that name (of the pod `of`, if it is another); a repeat gives the same address."""
        pod = of or name
        one = replace(holder(name), pod_name=pod, pod_uid=f"uid-{pod}")
        records = self.agent.node.deferred_deletes

        async def request() -> tuple[Address, ...]:
            await records.finish_former_life(one)
            return (await self.agent.sandboxes.add(one)).addresses

        addresses = await self.waited(request())
        address = addresses[0]
        assert isinstance(address, IPv4Address)
        assert name not in self.running or self.results[name] == addresses, f"{name} had {self.results[name]}"
        assert len(addresses) == 1 + self.policy.ipv6, f"{name} gets {addresses}"
        self.results[name] = addresses
        assert self.running.get(name, address) == address, f"{name} had {self.running[name]} and gets {address}"
        others = {other: its for other, its in self.running.items() if other != name}
        assert address not in others.values(), f"{address} of {others} goes to {name}"
        self.running[name] = address
        shown = self.api_pods.bodies[pod]
        shown["status"] = {"phase": "Running", "podIP": str(address)}
        self.show(pod)

    async def delete(self, name: str) -> None:
        """DEL, which the runtime repeats until it succeeds."""
        self.running.pop(name, None)
        self.ending.add(name)
        await self.waited(self.agent.delete(name))
        self.ending.discard(name)

    def holds(self, name: str) -> bool:
        """The sandbox has an address, whatever the runtime knows of it."""
        return bool(self.agent.stored.ledger.holding(holder(name).sandbox))

    async def check(self, name: str) -> None:
        """CHECK, which finds nothing."""
        await self.waited(self.agent.sandboxes.check(holder(name), expected=self.results[name]))

    async def collect(self, *living: str) -> None:
        """GC with those."""
        for name in self.running.keys() - set(living):
            del self.running[name]
            self.ending.add(name)
        valid = [holder(name).sandbox for name in living]
        await self.waited(self.agent.sandboxes.collect("azure-cni", valid))
        self.ending.clear()

    def forget(self, name: str) -> None:
        """The pod is gone from the API server."""
        self.api_pods.bodies.pop(name, None)
        if self.node is not None and not self.fuse.dead:
            self.node.node.pod_gone(f"uid-{name}")

    def record_delete(self, name: str) -> None:
        """The binary finds no agent, and writes the DEL down."""
        self.running.pop(name, None)
        records = self.directory / "released"
        records.mkdir(exist_ok=True)
        network, container, ifname = holder(name).sandbox
        body = {"containerID": container, "ifname": ifname, "config": {"name": network}}
        (records / Released(records).name_of(holder(name).sandbox)).write_text(json.dumps(body))

    def read_now(self) -> None:
        """A person has the NIC read."""
        self.agent.pools.annotate(**{READ_NOW: str(asyncio.get_running_loop().time())})
        self.agent.node.pool_seen(self.agent.pools.shown())

    def edit(self, **spec: Any) -> None:
        """A person edits the pool's spec."""
        self.agent.pools.edit_spec(**spec)
        if not self.fuse.dead:
            self.agent.node.pool_seen(self.agent.pools.shown())

    # What must be true.

    async def rest(self) -> None:
        """Nothing happens for a while."""
        await self.waited(asyncio.sleep(SETTLED_S))

    def require_covered(self) -> None:
        """At any crash the ledger holds at least what the kernel holds: no address with a link is free for another."""
        slots = self.agent.store.load()
        held = {self.agent.datapath.key(slot.holder.sandbox) for slot in slots if slot.holder is not None}
        assert set(self.agent.datapath.wired) <= held | self.strange, "the kernel has a link that the ledger has not"

    def require_whole(self) -> None:
        """Ledger, kernel, NIC and pool agree with each other and with what the runtime knows."""
        node = self.agent
        slots = node.store.load()
        held = {slot.holder.sandbox: slot.address for slot in slots if slot.holder is not None}
        expected = {holder(name).sandbox: address for name, address in self.running.items()}
        assert held == expected, "the ledger and the runtime differ"
        assert set(node.datapath.wired) == {node.datapath.key(sandbox) for sandbox in held}, "links and ledger differ"
        on_nic = {config.address for config in node.nic._configs if not config.primary}
        assert {slot.address for slot in slots if slot.on_nic} == on_nic, "ledger and NIC differ"
        bound = [slot.ipv6 for slot in slots if slot.ipv6 is not None]
        assert len(set(bound)) == len(bound) == (len(slots) if self.policy.ipv6 else 0), "not each its own of IPv6"
        status = node.status
        assert (status["allocated"], status["assigned"]) == (len(on_nic), len(held)), "pool and NIC differ"
        assert status["requested"] >= len(on_nic), "the NIC holds more than was asked for"
        own = {slot.address for slot in slots if slot.own_egress}
        assert node.datapath.own_egress == own, "the kernel's set and the ledger differ"
        assert not list((self.directory / "released").glob("*.json")), "a recorded DEL was not carried out"
        assert not [one for one in node.observer.recorded if one[0] == "internal_error"]
        assert (self.host.conf_dir / self.host.conf_name).is_file(), "the node takes no pods"
        assert not [path.name for path in self.directory.rglob("*.tmp")], "temporary files are left"

    async def end_all(self) -> None:
        """All pods end: what was given out is free again, and nothing is attached to it."""
        for name in list(self.running):
            await self.delete(name)
        for name in list(self.api_pods.bodies):
            self.forget(name)
        await self.until(lambda: self.agent.counts.free == self.agent.counts.allocated)
        await self.rest()
        self.require_whole()
        assert not self.agent.datapath.wired
        assert not any(self.agent.nic.resources.values()), "something stays attached to nobody's address"


Step = Callable[[CrashMachine], Awaitable[None]]
