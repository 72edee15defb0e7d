"""A node whose ledger holds pods of a real kernel, with what compares the two."""

from __future__ import annotations

from ipaddress import IPv4Address

from azure_cni.ipam.life import Holder, Sandbox, Slot, State
from azure_cni.linux.clock import SystemClock
from azure_cni.node.board import Board, Book, LinkParameters
from azure_cni.node.demand import Demand
from azure_cni.node.host_watch import HostWatch
from azure_cni.node.repair import Repair
from azure_cni.node.sandboxes import Sandboxes
from datapath.machine import MTU, Machine
from datapath.node_site import PRIMARY, TABLE
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.simulated_node import RecordingObserver


def watch_over(machine: Machine, *addresses: str) -> HostWatch:
    """The watch of a node that serves these pods."""
    datapath = machine.datapath

    async def keep_node(_: str) -> bool:
        return bool((await datapath.apply_node(TABLE)).repaired)

    repair = repair_of(machine, *addresses)
    return HostWatch(datapath=datapath, repair=repair, keep_node=keep_node, clock=SystemClock())


def repair_of(machine: Machine, *addresses: str) -> Repair:
    """What compares kernel and ledger of a node that serves these pods."""
    board, demand, clock, observer = Board(), Demand(), SystemClock(), RecordingObserver()
    board.link = LinkParameters(MTU, IPv4Address(PRIMARY))
    slots = [
        Slot(
            IPv4Address(address),
            f"azure-cni-{address}",
            State.ASSIGNED,
            0.0,
            Holder(Sandbox(address, "eth0"), machine.spec(address).netns, "default", address, address),
        )
        for address in addresses
    ]
    book = Book(store=FakeLedgerStore(slots), bell=board.bell)
    sandboxes = Sandboxes(
        book=book,
        board=board,
        demand=demand,
        datapath=machine.datapath,
        events=FakeEvents(),
        clock=clock,
        observer=observer,
        wake=lambda: None,
    )
    return Repair(
        book=book,
        demand=demand,
        datapath=machine.datapath,
        sandboxes=sandboxes,
        clock=clock,
        observer=observer,
        relist=lambda: None,
    )
