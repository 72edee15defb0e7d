"""Places of containers on the VNet, over hours of the event loop's own time: requests, ends, crashes in between."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.docker.container_endpoints import UNUSED_S
from azure_cni.docker.docker_networks import ANY_POOL
from azure_cni.errors import ConfigInvalid, DatapathError, NoAddress, NodeNotReady
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.identity import ModeName
from fakes.docker import FakeForwarding, PluginHost
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

HERE = IPv4Network("10.240.0.0/22")


async def started(
    host: PluginHost, endpoint: str, *, address: IPv4Address | None = None, name: str = ""
) -> IPv4Address:
    given = await host.endpoints.request(ANY_POOL, address, name=name)
    await host.endpoints.create("net1", endpoint, given)
    await host.endpoints.join("net1", endpoint, netns=f"/run/docker/netns/{endpoint}")
    host.move("net1", endpoint, f"/run/docker/netns/{endpoint}")
    return given


async def ended(host: PluginHost, endpoint: str, address: IPv4Address) -> None:
    await host.endpoints.leave("net1", endpoint)
    await host.endpoints.remove("net1", endpoint)
    await host.endpoints.release(address)


async def test_an_address_that_was_never_wired_is_free_at_once_and_another_cools() -> None:
    host = PluginHost()
    async with host.node.running() as node:
        await host.endpoints.release(await host.endpoints.request(HERE))
        assert (node.counts.assigned, node.counts.cooling) == (0, 0)
        await ended(host, "ep1", await started(host, "ep1"))
        assert (node.counts.assigned, node.counts.cooling) == (0, 1)
        await node.until(lambda: not node.counts.cooling, within_s=200)


async def test_a_container_that_names_its_address_gets_it_again_while_it_cools() -> None:
    host = PluginHost()
    async with host.node.running() as node:
        first = await started(host, "ep1")
        await ended(host, "ep1", first)
        assert await started(host, "ep2") != first
        assert await started(host, "ep3", address=first) == first
        assert node.counts.assigned == 2


async def test_an_address_that_cooled_when_it_was_named_cools_again_if_its_container_never_started() -> None:
    """Connections of the one before may still reach it: whoever is next must not get them."""
    host = PluginHost()
    async with host.node.running() as node:
        first = await started(host, "ep1")
        await ended(host, "ep1", first)
        await host.endpoints.release(await host.endpoints.request(ANY_POOL, first))
        assert (node.counts.assigned, node.counts.cooling) == (0, 1)
        await node.until(lambda: not node.counts.cooling, within_s=200)
        await host.endpoints.release(await host.endpoints.request(ANY_POOL, first))
        assert node.counts.cooling == 0


async def test_an_address_that_cooled_when_it_was_named_cools_again_also_in_the_next_process() -> None:
    before = PluginHost()
    async with before.node.running():
        first = await started(before, "ep1")
        await ended(before, "ep1", first)
        await before.endpoints.request(ANY_POOL, first)
    host = PluginHost(before=before)
    async with host.node.running() as node:
        await host.endpoints.release(first)
        assert (node.counts.assigned, node.counts.cooling) == (0, 1)


async def test_what_cooled_at_the_nodes_limit_cools_again_if_its_container_never_started() -> None:
    host = PluginHost(SimulatedNode(policy=Policy(min_free=1, max_free=2, batch=1, maximum=2)))
    async with host.node.running() as node:
        await started(host, "ep1")
        second = await started(host, "ep2")
        await ended(host, "ep2", second)
        await node.until(lambda: node.state.at_limit)
        await asyncio.sleep(COOLING_AT_LIMIT_S)
        assert node.counts.cooling == 1
        assert await host.endpoints.request(ANY_POOL) == second
        await host.endpoints.release(second)
        assert (node.counts.free, node.counts.cooling) == (0, 1)


async def test_a_named_address_that_was_requested_and_not_used_is_given_to_who_names_it_next() -> None:
    """Docker or the plugin died between the request and the endpoint, and the container is started again."""
    host = PluginHost()
    async with host.node.running() as node:
        address = await host.endpoints.request(ANY_POOL)
        await asyncio.sleep(UNUSED_S)
        assert await host.endpoints.request(ANY_POOL, address) == address
        with pytest.raises(NoAddress, match="a container that starts has it"):
            await host.endpoints.request(ANY_POOL, address)
        await host.endpoints.create("net1", "ep1", address)
        with pytest.raises(ConfigInvalid, match="endpoint ep1 of network net1 has"):
            await host.endpoints.create("net1", "ep2", address)
        with pytest.raises(ConfigInvalid, match="released once its endpoint is deleted"):
            await host.endpoints.release(address)
        assert node.counts.assigned == 1


async def test_a_container_that_is_started_again_has_its_address_again_while_it_cools() -> None:
    """By its name, where Docker gives that."""
    host = PluginHost()
    async with host.node.running() as node:
        first = await started(host, "ep1", name="web")
        other = await started(host, "ep2", name="db")
        await ended(host, "ep1", first)
        assert await started(host, "ep3", name="api") not in {first, other}
        assert await started(host, "ep4", name="web") == first
        await ended(host, "ep4", first)
        await node.until(lambda: not node.counts.cooling, within_s=200)
        with pytest.raises(ConfigInvalid, match="this VM's NIC has others"):
            await host.endpoints.request(IPv4Network("10.9.0.0/16"), name="web")


async def test_an_address_that_another_had_meanwhile_is_not_given_back_to_the_first() -> None:
    """What cools then cools after the other, whose connections are not for the first."""
    host = PluginHost()
    async with host.node.running():
        first = await started(host, "ep1", name="web")
        await ended(host, "ep1", first)
        await started(host, "ep2", address=first)
        await ended(host, "ep2", first)
        assert await started(host, "ep3", name="web") != first


async def test_who_waits_for_an_address_is_answered_when_the_process_ends() -> None:
    nic = FakeNic()
    host = PluginHost(SimulatedNode(nic=nic, policy=Policy(min_free=0, batch=1, max_free=1)))
    async with host.node.running() as node:
        await host.endpoints.request(ANY_POOL)
        nic.hold()
        began_s = node.clock.boottime_s()
        waiting = asyncio.create_task(host.endpoints.request(ANY_POOL))
        await asyncio.sleep(1)
        host.endpoints.end_waits()
        with pytest.raises(NodeNotReady, match="azure-cni is being stopped"):
            await waiting
        with pytest.raises(NodeNotReady, match="azure-cni is being stopped"):
            await host.endpoints.request(ANY_POOL)
        assert node.clock.boottime_s() - began_s < 2
        assert node.counts.assigned == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [("10.240.3.200", "NIC does not hold it for containers; it holds 16 addresses"), ("10.9.0.4", "does not hold it")],
)
async def test_an_address_that_the_nic_does_not_hold_is_refused_with_those_that_it_holds(
    address: str, words: str
) -> None:
    host = PluginHost()
    async with host.node.running() as node:
        await node.until(lambda: node.counts.free == 16)
        with pytest.raises(NoAddress, match=words):
            await host.endpoints.request(ANY_POOL, IPv4Address(address))


async def test_an_address_that_another_container_has_is_refused_at_each_stage() -> None:
    host = PluginHost()
    async with host.node.running():
        address = await host.endpoints.request(ANY_POOL)
        with pytest.raises(NoAddress, match="a container that starts has it"):
            await host.endpoints.request(ANY_POOL, address)
        await host.endpoints.create("net1", "ep1", address)
        with pytest.raises(NoAddress, match="endpoint ep1 of network net1 has it"):
            await host.endpoints.request(ANY_POOL, address)
        await host.endpoints.remove("net1", "ep1")
        with pytest.raises(NoAddress, match="a container that ends has it"):
            await host.endpoints.request(ANY_POOL, address)


async def test_a_pool_that_the_nic_is_not_in_gives_nothing() -> None:
    host = PluginHost()
    async with host.node.running() as node:
        await node.until(lambda: node.counts.free == 16)
        elsewhere = IPv4Network("10.9.0.0/16")
        with pytest.raises(ConfigInvalid, match=r"--subnet 10\.9\.0\.0/16: this VM's NIC has others"):
            await host.endpoints.request(elsewhere)
        with pytest.raises(ConfigInvalid, match="outside of the network's --subnet"):
            await host.endpoints.request(elsewhere, IPv4Address("10.240.0.5"))
        assert node.counts.free == 16


async def test_a_request_waits_for_the_growth_that_it_causes_and_gives_up_in_words() -> None:
    nic = FakeNic(room=2)
    host = PluginHost(SimulatedNode(nic=nic, policy=Policy(min_free=0, batch=1, max_free=2)))
    async with host.node.running() as node:
        assert await host.endpoints.request(ANY_POOL) != await host.endpoints.request(ANY_POOL)
        nic.hold()
        began_s = node.clock.boottime_s()
        with pytest.raises(NoAddress, match=r"^cannot give a container an address: ") as raised:
            await host.endpoints.request(ANY_POOL)
        assert node.clock.boottime_s() - began_s <= 20.5
        assert raised.value.cause in {"PoolGrowing", "SubnetFull"}
        assert node.counts.assigned == 2


async def test_before_the_vm_is_known_nothing_is_promised() -> None:
    host = PluginHost()
    with pytest.raises(NodeNotReady, match="cannot wire a container yet"):
        await host.endpoints.request(ANY_POOL, IPv4Address("10.240.0.5"))


async def test_a_node_whose_last_container_has_gone_changes_its_mode_before_a_named_address_is_given() -> None:
    """A container that restarts again and again, with the same address, would put that off for ever."""
    host = PluginHost()
    async with host.node.running() as node:
        first, second = await started(host, "ep1"), await started(host, "ep2")
        await ended(host, "ep1", first)
        node.state.pending_mode = ModeName.BRIDGE
        assert await started(host, "ep3", address=first) == first
        await ended(host, "ep2", second)
        await ended(host, "ep3", first)
        node.state.pending_mode = ModeName.BRIDGE
        with pytest.raises(NodeNotReady, match="cannot wire a container yet"):
            await host.endpoints.request(ANY_POOL, first)


async def test_a_kernel_or_firewall_that_refuses_leaves_the_address_for_docker_to_release() -> None:
    host = PluginHost()
    async with host.node.running() as node:
        given = await host.endpoints.request(ANY_POOL)
        await host.endpoints.create("net1", "ep1", given)
        node.datapath.fail_next = DatapathError("cannot create veth: no memory")
        with pytest.raises(DatapathError):
            await host.endpoints.join("net1", "ep1", netns="/s")
        host.forwarding.fail_next = DatapathError("cannot admit")
        with pytest.raises(DatapathError):
            await host.endpoints.join("net1", "ep1", netns="/s")
        assert await node.datapath.sandboxes() == ()
        await ended(host, "ep1", given)
        assert node.counts.assigned == 0


async def test_what_docker_never_ends_is_taken_back_when_its_link_has_been_gone_for_a_minute() -> None:
    """After RequestAddress, after CreateEndpoint, and with a container whose namespace is gone."""
    host = PluginHost()
    async with host.node.running() as node:
        await host.endpoints.request(ANY_POOL)
        await host.endpoints.create("net1", "ep2", await host.endpoints.request(ANY_POOL))
        await started(host, "ep3")
        running = await started(host, "ep4")
        node.datapath.remove_netns("/run/docker/netns/ep3")
        repair = node.repair()
        for _ in range(8):
            await repair.compare()
            await asyncio.sleep(10)
        assert host.states() == {str(running): "net1"}
        assert len(await node.datapath.sandboxes()) == 1


class SlowFirewall(FakeForwarding):
    """Another program holds iptables' lock."""

    async def admit(self, uplink: str) -> bool:
        await asyncio.sleep(30)
        return await super().admit(uplink)


async def test_what_is_just_being_joined_is_not_taken_back() -> None:
    """Its endpoint looked dead for a minute, and its container starts now."""
    host = PluginHost(forwarding=SlowFirewall())
    async with host.node.running() as node:
        address = await host.endpoints.request(ANY_POOL)
        await host.endpoints.create("net1", "ep1", address)
        repair = node.repair()
        await repair.compare()
        await asyncio.sleep(50)
        joining = asyncio.create_task(host.endpoints.join("net1", "ep1", netns="/run/docker/netns/ep1"))
        await asyncio.sleep(20)
        await repair.compare()
        await joining
        assert host.states() == {str(address): "net1"}
        assert len(await node.datapath.sandboxes()) == 1


async def test_a_firewall_that_is_set_up_anew_forwards_for_running_containers_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reload of firewalld, iptables-restore: Docker puts back its own rules alone, and a container joins some day."""
    host = PluginHost()
    async with host.node.running():
        await host.endpoints.admit_again()
        assert host.forwarding.admitted == []  # nobody is wired here
        address = await started(host, "ep1")
        host.forwarding.flush()
        await host.endpoints.admit_again()
        assert host.forwarding.forwards
        words = "rules put back into the firewall's chain FORWARD, for containers that run"
        assert [one.message for one in caplog.records].count(words) == 1
        await host.endpoints.admit_again()
        assert [one.message for one in caplog.records].count(words) == 1
        await ended(host, "ep1", address)


async def test_of_two_networks_that_one_container_joins_at_once_one_is_refused() -> None:
    host = PluginHost(forwarding=SlowFirewall())
    async with host.node.running() as node:
        for network in ("net1", "net2"):
            await host.endpoints.create(network, f"ep-{network}", await host.endpoints.request(ANY_POOL))
        joins = (host.endpoints.join(network, f"ep-{network}", netns="/s") for network in ("net1", "net2"))
        first, second = await asyncio.gather(*joins, return_exceptions=True)
        assert isinstance(second, ConfigInvalid)
        assert not isinstance(first, BaseException)
        assert len(await node.datapath.sandboxes()) == 1


async def test_the_next_process_finds_each_stage_in_the_ledger() -> None:
    before = PluginHost()
    async with before.node.running():
        requested = await before.endpoints.request(ANY_POOL)
        created = await before.endpoints.request(ANY_POOL)
        await before.endpoints.create("net1", "ep2", created)
        joined = await started(before, "ep3")
    host = PluginHost(before=before)
    async with host.node.running() as node:
        await host.endpoints.create("net1", "ep1", requested)
        await host.endpoints.join("net1", "ep2", netns="/s")
        host.endpoints.require("net1", "ep3")
        for endpoint, address in (("ep1", requested), ("ep2", created), ("ep3", joined)):
            await ended(host, endpoint, address)
        assert node.counts.assigned == 0
        assert await node.datapath.sandboxes() == ()


async def test_lost_routes_of_a_container_are_put_back() -> None:
    host = PluginHost()
    async with host.node.running() as node:
        await started(host, "ep1")
        (observed,) = await node.datapath.sandboxes()
        node.datapath.lose(observed.key, where="node", routes=())
        assert await node.repair().compare()
