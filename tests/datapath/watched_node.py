"""A node whose ledger holds pods of a real kernel, with what compares the two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

import pytest

from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import Holder, LinkParameters, Sandbox, Slot, State
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.nic import ConfigName
from azure_cni.node.pods import host_watch
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.host_watch import HostWatch
from azure_cni.node.pods.leaks import Leaks
from azure_cni.node.pods.repair import Repair
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger
from datapath.machine import MTU, Machine
from datapath.node_site import PRIMARY, TABLE
from fakes.egress import node_egress
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.observer import RecordingObserver
from fakes.waiting import PATIENCE_S, background, until

NONE: Mapping[str, str] = MappingProxyType({})


async def listen(datapath: LinuxDatapath) -> None:
    """Whatever others change from now on is heard, once somebody asks what changed."""
    asking = asyncio.create_task(datapath.changed())
    await until(lambda: bool(datapath._changes and datapath._changes._loop), within_s=PATIENCE_S, say=lambda: asking)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@contextlib.asynccontextmanager
async def watching(
    machine: Machine, *addresses: str, table: NodeTable = TABLE, ipv6: Mapping[str, str] = NONE
) -> AsyncIterator[None]:
    """A watch goes on meanwhile, and puts right only what it hears of: after the first no comparison comes due."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_watch, "PERIOD_S", 86_400.0)
        await listen(machine.datapath)
        async with background(watch_over(machine, *addresses, table=table, ipv6=ipv6).run()):
            yield


def watch_over(
    machine: Machine, *addresses: str, table: NodeTable = TABLE, ipv6: Mapping[str, str] = NONE
) -> HostWatch:
    """The watch of a node that serves these pods."""
    datapath = machine.datapath

    async def restore_node(_: str) -> bool:
        return bool((await datapath.apply_node(table)).repaired)

    repair = repair_of(machine, *addresses, ipv6=ipv6)
    return HostWatch(datapath=datapath, repair=repair, restore_node=restore_node, clock=SystemClock())


def repair_of(machine: Machine, *addresses: str, ipv6: Mapping[str, str] = NONE) -> Repair:
    """What compares kernel and ledger of a node that serves these pods; `ipv6`: the address that one has as well."""
    state, demand, clock, observer = NodeState(), Demand(), SystemClock(), RecordingObserver()
    state.link = LinkParameters(MTU, IPv4Address(PRIMARY), machine.mode)
    slots = [
        Slot(
            IPv4Address(address),
            ConfigName(f"azure-cni-{address}"),
            State.ASSIGNED,
            0.0,
            Holder(Sandbox("azure-cni", address, "eth0"), machine.spec(address).netns, "default", address, address),
            ipv6=IPv6Address(ipv6[address]) if address in ipv6 else None,
        )
        for address in addresses
    ]
    stored = StoredLedger(store=FakeLedgerStore(slots), broadcast=state.broadcast)
    sandboxes = Sandboxes(
        stored=stored,
        state=state,
        demand=demand,
        datapath=machine.datapath,
        egress=node_egress(stored, demand),
        events=FakeEvents(),
        clock=clock,
        observer=observer,
        wake=lambda: None,
    )
    leaks = Leaks(
        stored=stored,
        demand=demand,
        datapath=machine.datapath,
        sandboxes=sandboxes,
        clock=clock,
        observer=observer,
        relist=lambda: None,
    )
    return Repair(stored=stored, datapath=machine.datapath, sandboxes=sandboxes, observer=observer, leaks=leaks)
