"""The comparison with Docker's own lists: what crashes left comes back, and nothing that a living container has."""

from __future__ import annotations

import asyncio
import logging

import pytest

from azure_cni.docker.container_endpoints import DELETED, IFNAME, REQUESTED
from azure_cni.docker.docker_networks import ANY_POOL
from azure_cni.docker.engine_roll import PERIOD_S, EngineRoll
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.model.nic import Address
from azure_cni.node.pods.liveness import GRACE_S, Presence
from fakes.clocks import LoopClock
from fakes.docker import PluginHost
from fakes.docker_engine import NET1, ODD_ANSWERS, EngineContainer, FakeEngine, docker_id

pytestmark = pytest.mark.looptime

EP1 = docker_id("ep1")
LONG_S = 3 * GRACE_S + 4 * PERIOD_S
"""Enough for a suspicion, its list, a look, and the comparisons in between."""


async def started(host: PluginHost, engine: FakeEngine, number: int = 1, *, lives: bool = True) -> Address:
    """A container that runs; its address."""
    endpoint, netns = docker_id(f"ep{number}"), f"/run/docker/netns/{number}"
    address = await host.endpoints.request(ANY_POOL)
    await host.endpoints.create(NET1, endpoint, address)
    await host.endpoints.join(NET1, endpoint, netns=netns)
    host.move(NET1, endpoint, netns)
    if lives:
        host.node.datapath.processes[netns] = 1
    engine.containers[f"c{number}"] = EngineContainer(f"web{number}", NET1, endpoint, joined=True, running=True)
    return address


def forget(host: PluginHost, engine: FakeEngine, number: int = 1) -> None:
    """Docker loses a container that has ended: no call comes, and its namespace stays."""
    del engine.containers[f"c{number}"]
    host.node.datapath.processes.pop(f"/run/docker/netns/{number}", None)


async def test_what_docker_forgot_is_taken_back_after_the_grace_time_although_its_link_is_there() -> None:
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        await started(host, engine, 1)
        await started(host, engine, 2)
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 2
        forget(host, engine, 1)
        await asyncio.sleep(GRACE_S)
        assert node.counts.assigned == 2
        await asyncio.sleep(LONG_S)
        assert set(host.states().values()) == {NET1}
        assert [slot.container_id for slot in (one.sandbox for one in host.holders())] == [docker_id("ep2")]
        assert ("repaired", "leaked_address") in node.observer.recorded


async def test_a_container_that_lives_keeps_its_address_when_docker_has_lost_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its state was removed, or another engine answers at the socket."""
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        await started(host, engine)
        engine.containers.clear()
        engine.networks.clear()
        await asyncio.sleep(10 * LONG_S)
        assert node.counts.assigned == 1
        node.datapath.processes_hidden = True
        await asyncio.sleep(10 * LONG_S)
        assert node.counts.assigned == 1
    said = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert "address held by a sandbox that no pod or container uses: processes still run in it" in said


@pytest.mark.parametrize("says", [None, *ODD_ANSWERS])
async def test_an_engine_that_does_not_answer_or_answers_nonsense_takes_nothing(
    says: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even what no process is in: whether Docker has it is not known any more."""
    caplog.set_level(logging.INFO)
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        await started(host, engine, 1, lives=False)
        await asyncio.sleep(2 * PERIOD_S)
        engine.silent, engine.says = says is None, says
        await started(host, engine, 2, lives=False)
        await asyncio.sleep(10 * LONG_S)
        assert node.counts.assigned == 2
        assert host.roll is not None
        assert host.roll.report.error.startswith("cannot ")
        engine.silent, engine.says = False, None
        await asyncio.sleep(LONG_S)
        assert (node.counts.assigned, host.roll.report.error) == (2, "")
        assert host.roll.report.age_s <= PERIOD_S
    words = [record.getMessage() for record in caplog.records if "docker's containers" in record.getMessage()]
    assert words == ["docker's containers cannot be listed", "docker's containers are listed again"]


async def test_without_an_engine_all_is_as_docker_says_and_what_has_no_link_is_taken_back() -> None:
    engine = FakeEngine()
    engine.silent = True
    host = PluginHost(engine=engine)
    async with host.running() as node:
        await started(host, engine, 1, lives=False)
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 1
        node.datapath.remove_netns("/run/docker/netns/1")
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 0


async def test_a_container_that_takes_minutes_to_start_keeps_its_address() -> None:
    """Docker has made its endpoint and waits for a volume: no process is in the namespace, no settings name it."""
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        engine.containers["c1"] = EngineContainer("web1", NET1, EP1)
        address = await host.endpoints.request(ANY_POOL)
        await host.endpoints.create(NET1, EP1, address)
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 1  # made, and no link yet
        await host.endpoints.join(NET1, EP1, netns="/run/docker/netns/1")
        host.move(NET1, EP1, "/run/docker/netns/1")
        engine.containers["c1"].joined = True
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 1


@pytest.mark.parametrize("has_it", [True, False])
async def test_an_endpoint_that_docker_made_while_its_list_was_silent_waits_for_a_newer_one(*, has_it: bool) -> None:
    """The view of before cannot have it, and it has no link for as long as Docker waits for a volume."""
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        await asyncio.sleep(2 * PERIOD_S)
        engine.silent = True
        if has_it:
            engine.containers["c1"] = EngineContainer("web1", NET1, EP1)
        await host.endpoints.create(NET1, EP1, await host.endpoints.request(ANY_POOL))
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 1
        engine.silent = False
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == int(has_it)


async def test_a_network_that_docker_removed_hides_nothing() -> None:
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running() as node:
        await started(host, engine, 1)
        await asyncio.sleep(PERIOD_S)
        assert f"/networks/{NET1}" in engine.asked
        forget(host, engine)
        del engine.networks[NET1]
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 0


async def test_a_join_has_the_lists_read_soon_and_a_burst_of_them_once() -> None:
    engine = FakeEngine()
    host = PluginHost(engine=engine)
    async with host.running():
        await asyncio.sleep(1.5 * PERIOD_S)
        before = len([path for path in engine.asked if path == "/networks"])
        for number in range(5):
            await started(host, engine, number)
        await asyncio.sleep(PERIOD_S / 3)
        assert len([path for path in engine.asked if path == "/networks"]) == before + 1
        assert host.roll is not None
        assert host.roll.report.view is not None
        assert host.roll.report.view.containers[docker_id("ep3")] == "web3"


async def test_a_cni_container_whose_interface_is_named_as_dockers_keeps_its_address() -> None:
    """CNI_IFNAME is the runtime's to choose, and no list of Docker has its containers."""
    host = PluginHost(engine=FakeEngine())
    async with host.running() as node:
        await node.sandboxes.add(Holder(Sandbox("azure-cni", "cnitool-77383ca0a0715733ca6f", IFNAME), "/run/netns/one"))
        await asyncio.sleep(LONG_S)
        assert node.counts.assigned == 1


@pytest.mark.parametrize(
    ("holder", "presence"),
    [
        (Holder(Sandbox(NET1, EP1, IFNAME)), Presence.HERE),
        (Holder(Sandbox(NET1, docker_id("ep9"), IFNAME)), Presence.FORGOTTEN),
        (Holder(Sandbox(REQUESTED, EP1, IFNAME)), Presence.NO_POD),
        (Holder(Sandbox(DELETED, EP1, IFNAME)), Presence.NO_POD),
        (Holder(Sandbox("azure-cni", "by-podman", "eth0")), Presence.NO_POD),
        (Holder(Sandbox("azure-cni", "cnitool-77383ca0a0715733ca6f", IFNAME)), Presence.NO_POD),
        (Holder(Sandbox("azure-cni", EP1, IFNAME)), Presence.NO_POD),
        (Holder(Sandbox(NET1, "cnitool-77383ca0a0715733ca6f", IFNAME)), Presence.NO_POD),
    ],
)
async def test_it_judges_docker_s_endpoints_alone(holder: Holder, presence: Presence) -> None:
    engine = FakeEngine()
    engine.containers["c1"] = EngineContainer("web1", NET1, EP1, joined=True, running=True)
    roll = EngineRoll(engine, clock=LoopClock())
    assert roll.presence(holder) is Presence.NO_POD
    host = PluginHost()
    task = asyncio.create_task(roll.run(list, host.node.node.faults))
    await asyncio.sleep(1)
    task.cancel()
    assert roll.presence(holder) is presence
