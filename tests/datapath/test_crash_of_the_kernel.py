"""The data plane on a real kernel, killed before each request that it makes of it: what the next agent finds there is
the pod as it was or as it should be, or something that it recognises and takes away.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from datapath.effects import NEEDS_SECCOMP, Child
from datapath.machine import MTU
from datapath.namespaces import OUR_RULE, Namespace, Namespaces
from datapath.node_site import NIC_MAC, TABLE
from fakes.veth import VethSandbox

pytestmark = [NEEDS_SECCOMP, pytest.mark.root]

T = TypeVar("T")
ADDRESS, PRIMARY, MOVED = "10.240.0.7", "10.240.0.4", "10.240.0.9"


@dataclass
class Kernel:
    """A node and one pod's namespace. Each use of the data plane is a process's, from its start to its end."""

    node: Namespace
    pod: Namespace
    mode: ModeName

    @property
    def spec(self) -> VethSandbox:
        link = LinkParameters(MTU, IPv4Address(PRIMARY), self.mode)
        return VethSandbox(Sandbox("azure-cni", "c1", "eth0"), self.pod.path, (IPv4Address(ADDRESS),), link)

    @property
    def table(self) -> NodeTable:
        return replace(TABLE, mode=self.mode, own_egress=frozenset())

    def use(self, work: Callable[[LinuxDatapath], Awaitable[T]]) -> T:
        """In this process."""

        async def run() -> T:
            datapath = LinuxDatapath(node_netns=self.node.path)
            try:
                return await work(datapath)
            finally:
                await datapath.close()

        return asyncio.run(run())

    def difference(self) -> tuple[str, ...]:
        """Between the pod and what it should be."""
        return self.use(lambda datapath: datapath.check(self.spec))

    def is_bare(self) -> bool:
        """Nothing of the pod is left on the node, nor in its namespace."""
        ours = {name for name in self.node.links() if name.startswith("acni")}
        routes = [one for one in self.node.show("route") if one["dst"] == ADDRESS]
        neighbours = [one for one in self.node.show("neigh") if one["dst"] == ADDRESS]
        return not ours and not routes and not neighbours and self.pod.links() <= {"lo"}

    async def observe(self, datapath: LinuxDatapath) -> Any:
        """As the repair does: what leaves is removed."""
        return await datapath.sandboxes()


@dataclass(frozen=True)
class Verb:
    """`act` is killed and repeated; `done` says what is wrong in the end."""

    name: str
    act: Callable[[Kernel, LinuxDatapath], Awaitable[Any]]
    done: Callable[[Kernel], object]
    before: Callable[[Kernel, LinuxDatapath], Awaitable[Any]] | None = None

    def __str__(self) -> str:
        return self.name


async def attach(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.attach(kernel.spec)


async def detach(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.detach(kernel.spec.sandbox)
    await datapath.settle()


async def offer(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.offer(kernel.spec)


async def rewire(kernel: Kernel, datapath: LinuxDatapath) -> None:
    """The same sandbox with another MTU."""
    spec = kernel.spec
    await datapath.attach(replace(spec, link=replace(spec.link, mtu=MTU - 100)))


async def lose_routes(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await attach(kernel, datapath)
    kernel.node.ip("route", "flush", "to", f"{ADDRESS}/32")


async def restore(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.restore_routes(kernel.spec)


async def apply(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.apply_node(kernel.table)


async def apply_other(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.apply_node(replace(kernel.table, pool=frozenset({IPv4Address(MOVED)})))


async def set_egress(kernel: Kernel, datapath: LinuxDatapath) -> None:
    await datapath.set_egress(frozenset({IPv4Address(ADDRESS)}))


def no_drift(kernel: Kernel) -> object:
    return kernel.use(lambda datapath: datapath.apply_node(kernel.table)).repaired


def no_egress_is_lost(kernel: Kernel) -> object:
    return ADDRESS not in kernel.node.run("nft", "list", "set", "inet", "azure_cni", "egress_pod")


VERBS: Final = (
    Verb("ADD", attach, Kernel.difference),
    Verb("repeated ADD", attach, Kernel.difference, before=attach),
    Verb("ADD of one that was wired otherwise", attach, Kernel.difference, before=rewire),
    Verb("DEL", detach, lambda kernel: not kernel.is_bare(), before=attach),
    Verb("CreateEndpoint", offer, lambda kernel: len(kernel.use(kernel.observe)) != 1),
    Verb("end of an offered link", detach, lambda kernel: not kernel.is_bare(), before=offer),
    Verb("lost routes", restore, Kernel.difference, before=lose_routes),
    Verb("table, rule and switches", apply, no_drift),
    Verb("another table", apply, no_drift, before=apply_other),
    Verb("egress of pods", set_egress, no_egress_is_lost, before=apply),
)


def made(namespaces: Namespaces, mode: ModeName) -> Kernel:
    """A node with its NIC and no pod."""
    node = namespaces.new("node")
    node.ip("link", "add", "eth0", "address", NIC_MAC, "mtu", str(MTU), "type", "bridge")
    node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
    node.ip("link", "set", "eth0", "up")
    return Kernel(node, namespaces.new(), mode)


def in_child(verb: Verb, kernel: Kernel, log: Path, *, burns_at: int | None = None) -> Child:
    return Child(lambda: kernel.use(lambda datapath: verb.act(kernel, datapath)), log, burns_at=burns_at)


def settle(verb: Verb, kernel: Kernel) -> None:
    """The verb is repeated, and is right; then the pod ends, and nothing is left."""
    kernel.use(kernel.observe)
    kernel.use(lambda datapath: verb.act(kernel, datapath))
    assert not verb.done(kernel), f"{verb} was repeated, and is not right: {verb.done(kernel)}"
    kernel.use(lambda datapath: detach(kernel, datapath))
    kernel.use(kernel.observe)
    assert kernel.is_bare(), f"{verb} leaves {kernel.node.run('ip', 'address')}"


@pytest.mark.parametrize("mode", list(ModeName))
@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_killed_before_each_request(verb: Verb, mode: ModeName, namespaces: Namespaces, tmp_path: Path) -> None:
    kernel = made(namespaces, mode)

    def prepare() -> None:
        if verb.act in {apply, set_egress}:
            kernel.node.run("sh", "-c", "nft flush ruleset; ip rule del pref 90 2>/dev/null || true")
        if verb.before is not None:
            before = verb.before
            kernel.use(lambda datapath: before(kernel, datapath))

    if verb.act is not apply:
        kernel.node.ip("rule", "add", "pref", *OUR_RULE.split())
    prepare()
    whole = in_child(verb, kernel, tmp_path / "log")
    assert whole.wait() == 0, (tmp_path / "log").read_text()
    assert not verb.done(kernel)
    settle(verb, kernel)
    kills = 0
    for point in itertools.count():
        prepare()
        child = in_child(verb, kernel, tmp_path / "log", burns_at=point)
        if child.wait() == 0:  # it had no more to do than that: switches that are right stay so
            break
        kills += 1
        try:
            settle(verb, kernel)
        except Exception as error:
            raise AssertionError(f"{verb}, killed before {child.killed_at} (step {point}): {error!r}") from error
    print(f"{verb}, {mode}: {len(whole.points)} requests, {kills} kills: {', '.join(whole.points)}")
