"""A pool that names a NIC on another VM than its Node is: what Azure and the Node show, against what an agent says."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.cluster.nic_owners import AGAIN_S, UNKNOWN_S
from azure_cni.errors import AccessDenied, KubeDenied
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

VMS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines"


def machine(world: SimulatedCluster, name: str, *, vm: str = "", node: str = "") -> None:
    """The NIC of that name is on that VM, and the Node says that it is that one."""
    world.vnets.vms[f"{name}-nic"] = f"{VMS}/{vm or name}"
    world.cluster.provider_ids[name] = f"azure://{VMS}/{node or name}"


async def test_who_names_the_nic_of_another_vm_is_granted_nothing_more_and_learns_why() -> None:
    world = SimulatedCluster()
    machine(world, "a")
    machine(world, "b")
    async with world.controller():
        world.cluster.node("b", requested=8)
        world.cluster.node("a", requested=8, nic="b-nic")
        await world.until(lambda: world.cluster.status("a").get("grantReason") == "NicForeign", within_s=30)
        world.cluster.node("a", requested=200, number=2, nic="b-nic", waiting=100)
        world.cluster.node("b", requested=16, number=2)
        await asyncio.sleep(300)
    reported = world.cluster.status("a")["grantMessage"]
    assert f"shows the NIC g/b-nic on {VMS}/b, and the Node a says that it is {VMS}/a" in reported
    assert "kubectl delete node a" in reported
    assert world.cluster.granted_of("a")[1] < 2
    assert world.cluster.granted_of("b") == (16, 2)


async def test_once_it_names_its_own_it_is_granted() -> None:
    world = SimulatedCluster()
    machine(world, "a", node="another")
    async with world.controller():
        world.cluster.node("a", requested=8)
        await world.until(lambda: world.cluster.status("a").get("grantReason") == "NicForeign", within_s=30)
        world.cluster.node("a", requested=9, number=2)
        world.cluster.provider_ids["a"] = f"azure://{VMS}/a"  # the Node was deleted, and registered again
        await world.until(lambda: world.cluster.granted_of("a") == (9, 2), within_s=AGAIN_S + 30)


@pytest.mark.parametrize("lacks", ["providerID", "another cloud's", "VM", "Node's right", "Azure's right"])
async def test_where_one_of_both_is_missing_nothing_is_refused(lacks: str) -> None:
    world = SimulatedCluster()
    machine(world, "a", vm="another")
    match lacks:
        case "providerID":
            world.cluster.provider_ids.clear()
        case "another cloud's":
            world.cluster.provider_ids["a"] = "kind://docker/kind/a"
        case "VM":
            world.vnets.vms.clear()
        case "Node's right":
            world.cluster.before_call = _denied
        case _:
            world.vnets.fail = AccessDenied("cannot read NIC a-nic: no role")
    async with world.controller():
        world.cluster.node("a", requested=8)
        await asyncio.sleep(2 * UNKNOWN_S)
        world.cluster.node("a", requested=16, number=2)
        await world.until(lambda: world.cluster.granted_of("a") == (16, 2), within_s=60)
    asked = [one for one in world.vnets.asked if one == "vm of a-nic"]
    assert len(asked) <= {"providerID": 0, "another cloud's": 0, "VM": 3, "Node's right": 0}.get(lacks, 21)


def _denied(call: str) -> None:
    if call == "nodes.read":
        raise KubeDenied("cannot read /api/v1/nodes/a: forbidden")


async def test_a_silent_azure_keeps_nobody_waiting() -> None:
    world = SimulatedCluster()
    machine(world, "a")

    async def never(_: str) -> str:
        await asyncio.Event().wait()
        return ""

    world.vnets.vm_of = never  # type: ignore[method-assign]
    async with world.controller():
        world.cluster.node("a", requested=8)
        await world.until(lambda: world.cluster.granted_of("a") == (8, 1), within_s=2)
        world.cluster.node("b", requested=8)
        await world.until(lambda: world.cluster.granted_of("b") == (8, 1), within_s=2)
        await asyncio.sleep(2 * AGAIN_S)
    assert [one for one in world.observer.recorded if one[0] == "internal_error"] == [], "it is Azure's fault, not ours"


async def test_azure_is_asked_once_about_each_and_once_a_minute_about_who_changes_its_nic() -> None:
    world = SimulatedCluster()
    names = [f"n{index}" for index in range(40)]
    for name in (*names, "x"):
        machine(world, name)
    async with world.controller():
        for name in names:
            world.cluster.node(name, requested=8)
        for turn in range(600):
            world.vnets.vms[f"nic{turn}"] = f"{VMS}/x"
            world.cluster.node("x", number=turn + 1, nic=f"nic{turn}")
            await asyncio.sleep(1)
    asked = [one for one in world.vnets.asked if one.startswith("vm of ")]
    assert len([one for one in asked if not one.startswith("vm of nic")]) == len(names)
    assert len([one for one in asked if one.startswith("vm of nic")]) <= 11
