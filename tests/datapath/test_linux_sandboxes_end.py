"""Sandboxes that end, and what a new agent finds of them, in a real kernel."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.errors import DatapathError, LedgerError
from azure_cni.ipam.address_state import Sandbox
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.veth import LEAVING
from datapath.machine import Machine
from datapath.namespaces import IN_EACH_MODE, caller_of, is_bare, neighbours_of, routes_of
from fakes.simulated_node import SimulatedNode

pytestmark = IN_EACH_MODE

A, B = "10.240.0.7", "10.240.0.8"
PORT = 8080
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h


async def test_detach_leaves_nothing(machine: Machine) -> None:
    spec = machine.spec(A)
    await machine.datapath.attach(spec)
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert is_bare(machine.node)
    assert is_bare(machine.pods[A])
    await machine.datapath.detach(spec.sandbox)  # once more is no error


async def test_detach_cuts_off_before_it_returns(machine: Machine) -> None:
    """The cutting alone, without the removal that follows a moment later."""
    machine.node.ip("address", "add", "10.240.0.4/32", "dev", "lo")
    first, second = await machine.pod(A), await machine.pod(B)
    unblock = threading.Event()
    blocked = machine.datapath._housekeeping.submit(lambda _: unblock.wait(5))
    with first.socket(socket.SOCK_DGRAM) as leaver, second.socket(socket.SOCK_DGRAM) as stayer:
        leaver.bind((A, PORT))
        stayer.bind((B, PORT))
        stayer.sendto(b"before", (A, PORT))
        assert leaver.recv(16) == b"before"

        await machine.datapath.detach(machine.spec(A).sandbox)

        assert machine.spec(A).host_ifname in machine.node.links()
        assert routes_of(machine.node) == [(B, None, machine.way_to(B), None)]
        assert {neighbour[0] for neighbour in neighbours_of(machine.node)} == {B}
        with pytest.raises(OSError, match=os.strerror(errno.ENETUNREACH)):
            machine.node.socket(socket.SOCK_DGRAM).sendto(b"after", (A, PORT))
        leaver.sendto(b"after", (B, PORT))
        machine.node.socket(socket.SOCK_DGRAM).sendto(b"the node", (B, PORT))
        assert stayer.recv(16) == b"the node"
    unblock.set()
    await asyncio.wrap_future(blocked)


async def test_detach_after_the_namespace_went_is_no_error(machine: Machine) -> None:
    spec = machine.spec(A)
    await machine.datapath.attach(spec)
    machine.pods[A].delete()
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert is_bare(machine.node)


async def test_a_sandbox_may_come_back_while_its_link_is_leaving(machine: Machine) -> None:
    spec = machine.spec(A)
    for _ in range(5):
        await machine.datapath.attach(spec)
        await machine.datapath.detach(spec.sandbox)
    await machine.datapath.attach(spec)
    await machine.datapath.settle()
    assert await machine.datapath.check(spec) == ()


async def test_another_container_may_have_the_namespace_while_the_link_of_the_former_is_leaving(
    machine: Machine,
) -> None:
    """A runtime may keep a namespace for the next container: its `eth0` goes with the link, a moment after the DEL."""
    former = machine.spec(A)
    await machine.datapath.attach(former)
    stayer = await machine.pod(B)
    unblock = threading.Event()
    blocked = machine.datapath._housekeeping.submit(lambda _: unblock.wait(5))
    await machine.datapath.detach(former.sandbox)

    successor = replace(former, sandbox=Sandbox("azure-cni", "the-next-container", "eth0"))
    await machine.datapath.attach(successor)

    assert await machine.datapath.check(successor) == ()
    unblock.set()
    await asyncio.wrap_future(blocked)
    await machine.datapath.settle()
    assert await machine.datapath.check(successor) == ()
    assert await machine.datapath.check(machine.spec(B, pod=stayer)) == ()


async def test_the_namespace_of_a_container_that_lives_is_not_taken_from_it(machine: Machine) -> None:
    spec = machine.spec(A)
    await machine.datapath.attach(spec)
    with pytest.raises(DatapathError, match="for a container that was not deleted; remove that one first"):
        await machine.datapath.attach(replace(spec, sandbox=Sandbox("azure-cni", "the-next-container", "eth0")))
    assert await machine.datapath.check(spec) == ()


async def test_what_is_wired_is_listed_with_its_routes(machine: Machine) -> None:
    await machine.pod(A)
    await machine.pod(B)
    machine.node.ip("link", "add", "azvc440f455693", "type", "bridge")  # so Azure's own plugin names a pod's
    listed = {found.key: set(map(str, found.addresses)) for found in await machine.datapath.sandboxes()}
    assert listed == {machine.spec(A).host_ifname: {A}, machine.spec(B).host_ifname: {B}}


async def test_the_next_agent_removes_what_a_crashed_one_had_cut_off(machine: Machine) -> None:
    await machine.pod(A)
    machine.node.ip("link", "set", machine.spec(A).host_ifname, "down", "group", str(LEAVING))
    await machine.pod(B)
    successor = machine.successor()
    assert [found.key for found in await successor.sandboxes()] == [machine.spec(B).host_ifname]
    await successor.close()
    assert machine.node.links() - {"azure0"} == {"lo", machine.spec(B).host_ifname}


async def test_many_come_and_go_at_once(machine: Machine) -> None:
    specs = [machine.spec(f"10.240.1.{number}") for number in range(30)]
    await asyncio.gather(*(machine.datapath.attach(spec) for spec in specs))
    assert [await machine.datapath.check(spec) for spec in specs] == [()] * 30
    await asyncio.gather(*(machine.datapath.detach(spec.sandbox) for spec in specs))
    await machine.datapath.settle()
    assert is_bare(machine.node)
    assert all(is_bare(pod) for pod in machine.pods.values())


async def test_a_cancelled_attach_leaves_nothing_once_detached(machine: Machine) -> None:
    spec = machine.spec(A)
    attaching = asyncio.create_task(machine.datapath.attach(spec))
    await asyncio.sleep(0)
    attaching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attaching
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert is_bare(machine.node)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_close_gives_all_descriptors_back(machine: Machine) -> None:
    before = open_descriptors()
    datapath = LinuxDatapath(node_netns=machine.node.path)
    await datapath.attach(machine.spec(A))
    with pytest.raises(DatapathError):
        await datapath.attach(machine.spec(B, netns="/run/netns/no-such"))
    await datapath.detach(machine.spec(A).sandbox)
    await datapath.close()
    assert open_descriptors() == before


async def test_an_agent_without_its_ledger_leaves_running_pods_alone(machine: Machine) -> None:
    """A lost ledger names no sandbox, so each link would be mistaken for what a crash left."""
    one, other = await machine.pod(A), await machine.pod(B)
    repair = SimulatedNode().repair(datapath=machine.datapath)
    with pytest.raises(LedgerError, match=f"pods run with {A}, {B}; "):
        await repair.verify_ledger()
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A
    for address in (A, B):
        await machine.datapath.detach(machine.spec(address).sandbox)
    await repair.verify_ledger()
