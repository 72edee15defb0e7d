"""Pods with an address of each family: bound together, from one block of the NIC or singly, and both or none."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from azure_cni.errors import DatapathError, LedgerError, NoAddress
from azure_cni.ipam.address_state import State
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import Address
from azure_cni.node.stored_ledger import StoredLedger
from fakes.ledger_store import FakeLedgerStore
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime

SPACE = "fd00:240::/64"
BLOCK = IPv6Network("fd00:240::4:0/112")
DUAL = Policy(size=8, ipv6=True)


def addresses_of(node: SimulatedNode, name: str) -> tuple[Address, ...]:
    """What the pod was given, by the ledger."""
    slots = node.stored.ledger.holding(holder(name).sandbox)
    return (*(slot.address for slot in slots), *(slot.ipv6 for slot in slots if slot.ipv6))


async def added(node: SimulatedNode, name: str) -> tuple[Address, ...]:
    await node.add(name)
    return addresses_of(node, name)


async def test_one_write_brings_both_families():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        assert node.nic.writes == 1
        (block,) = node.nic.ipv6
        assert block.network == BLOCK
        first, second = await added(node, "a")
        assert second == BLOCK[int(first) % 65536]
        assert node.status["requested"] == 8
        await node.until(lambda: any(event.reason == "PoolGrew" for event in node.events.published))
        (grew,) = (event.message for event in node.events.published if event.reason == "PoolGrew")
        assert grew == "added 8 addresses, with an IPv6 block (/112) (keep addresses ready); 8 on the NIC"


async def test_the_data_plane_gets_ipv4_first():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        specs, attach = [], node.datapath.attach

        async def recorded(spec):
            specs.append(spec)
            return await attach(spec)

        node.datapath.attach = recorded
        await node.add("a")
        assert specs[0].addresses == addresses_of(node, "a")
        assert [type(one) for one in specs[0].addresses] == [IPv4Address, IPv6Address]


async def test_the_kernel_knows_each_pair_before_a_pod_has_it():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free > 0)
        table = node.datapath.tables[-1]
        assert table.ipv6_pairs == node.stored.ledger.pairs()
        assert len(table.ipv6_pairs) == 8
        assert table.ipv6_blocks == {BLOCK}
        assert (await node.add("a")).addresses == addresses_of(node, "a")


async def test_a_node_of_ipv4_has_none_in_its_table():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=Policy(size=8)).running() as node:
        await node.until(lambda: node.counts.free == 8)
        assert not node.datapath.tables[-1].dual


async def test_check_compares_both():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        both = await added(node, "a")
        await node.sandboxes.check(holder("a"), expected=both)
        with pytest.raises(DatapathError, match=f"the ledger {both[0]}, {both[1]}"):
            await node.sandboxes.check(holder("a"), expected=both[:1])


async def test_connections_of_both_end_when_they_cool():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        both = await added(node, "a")
        await node.delete("a")
        await node.until(lambda: set(node.datapath.forgotten) == set(both))


async def test_a_ledger_that_was_lost_names_the_addresses_of_both():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        both = await added(node, "a")
    later = SimulatedNode(before=node, policy=DUAL)
    later.stored = StoredLedger(store=FakeLedgerStore(), broadcast=later.state.broadcast)
    with pytest.raises(LedgerError, match=f"pods run with {both[0]}, {both[1]};"):
        await later.repair().verify_ledger()


async def test_every_pod_has_its_own_and_a_repeated_add_the_same():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        made = [await added(node, f"p{number}") for number in range(8)]
        assert len({address for pair in made for address in pair}) == 16
        assert await added(node, "p3") == made[3]


async def test_both_cool_together():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL, cooling_s=30.0).running() as node:
        await node.until(lambda: node.counts.free == 8)
        first, second = await added(node, "a")
        await node.delete("a")
        slot = node.stored.ledger.find(first)
        assert (slot.state, slot.ipv6) == (State.COOLING, second)
        others = [await added(node, f"p{number}") for number in range(7)]
        assert {first, second}.isdisjoint({address for pair in others for address in pair})
        await node.until(lambda: node.counts.free == 1)
        assert await added(node, "b") == (first, second)


async def test_the_next_agent_knows_what_is_bound():
    before = SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL)
    async with before.running():
        await before.until(lambda: before.counts.free == 8)
        given = await added(before, "a")
        bound = {slot.address: slot.ipv6 for slot in before.stored.ledger.slots}
    async with SimulatedNode(before=before, policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 7)
        assert addresses_of(node, "a") == given
        assert {slot.address: slot.ipv6 for slot in node.stored.ledger.slots} == bound
    async with SimulatedNode(before=before, policy=DUAL, rebooted=True).running() as node:
        await node.until(lambda: node.counts.free == 8)
        assert {slot.address: slot.ipv6 for slot in node.stored.ledger.slots} == bound


async def test_a_node_that_gets_ipv6_later_leaves_its_pods_alone():
    before = SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=Policy(size=8))
    async with before.running():
        await before.until(lambda: before.counts.free == 8)
        given = await added(before, "a")
        assert len(given) == 1
    async with SimulatedNode(before=before, policy=DUAL, cooling_s=5.0).running() as node:
        await node.until(lambda: node.counts.free == 7)
        assert (node.nic.writes, len(node.nic.ipv6)) == (2, 1)
        assert addresses_of(node, "a") == given
        (written,) = (event.message for event in node.events.published if event.reason == "NicRewritten")
        assert written.startswith("wrote the NIC once more, with an IPv6 block (/112) (pods are to have IPv6")
        assert len(await added(node, "b")) == 2
        await node.delete("a")
        await node.until(lambda: node.counts.free == 7, within_s=10)
        assert node.datapath.tables[-1].ipv6_pairs == node.stored.ledger.pairs()
        assert all(slot.ipv6 for slot in node.stored.ledger.slots)


async def test_and_one_that_loses_it_gives_ipv4_alone():
    before = SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL)
    async with before.running():
        await before.until(lambda: before.counts.free == 8)
        given = await added(before, "a")
    async with SimulatedNode(before=before, policy=Policy(size=8)).running() as node:
        await node.until(lambda: node.state.ready)
        assert addresses_of(node, "a") == given
        assert len(await added(node, "b")) == 1
        assert len(node.nic.ipv6) == 1


async def test_single_addresses_where_azure_refuses_the_block():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE, ipv6_blocks=False), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8, within_s=20)
        assert (node.nic.writes, node.nic.tries, len(node.nic.ipv6)) == (1, 2, 8)
        made = [await added(node, f"p{number}") for number in range(8)]
        assert {second for _, second in made} == {one.network.network_address for one in node.nic.ipv6}


@pytest.mark.parametrize("blocks", [0, 28])
async def test_new_pods_get_single_addresses_beside_pods_that_lost_theirs_of_ipv4(blocks: int):
    """Another node has the IPv4 addresses; the pods go on with IPv6, and what they keep is nobody else's."""
    nic = FakeNic(ipv6_space=SPACE, ipv6_blocks=False)
    async with SimulatedNode(nic=nic, policy=Policy(ipv6=True, blocks=blocks), shrink_delay_s=3600.0).running() as node:
        await node.until(lambda: node.counts.free >= 12)
        kept = [(await added(node, f"before-{number}"))[1] for number in range(12)]
        for config in [config for config in nic.configs if not config.primary]:
            nic.elsewhere_give(config.name)
        node.reconciler.wake()
        await node.until(lambda: node.counts.missing == 12 and node.counts.free > 0, within_s=3600)
        assert node.counts.programming == 0
        got: list[Address] = []
        for number in range(20):
            await node.until(lambda: node.counts.free > 0)
            got += await added(node, f"after-{number}")
        assert len({*kept, *got}) == 12 + 2 * 20


async def test_single_addresses_leave_with_theirs():
    policy = Policy(min_free=1, batch=1, max_free=2, ipv6=True)
    nic = FakeNic(ipv6_space=SPACE, ipv6_blocks=False)
    async with SimulatedNode(nic=nic, policy=policy, shrink_delay_s=10.0, cooling_s=1.0).running() as node:
        await node.until(lambda: node.counts.free >= 1, within_s=600)
        for number in range(6):
            await node.add(f"p{number}")
        kept = addresses_of(node, "p0")
        for number in range(1, 6):
            await node.delete(f"p{number}")
        await node.until(lambda: node.counts.allocated <= 3, within_s=600)
        await node.until(lambda: len(node.nic.ipv6) == node.counts.allocated)
        assert kept[1] in {one.network.network_address for one in node.nic.ipv6}
        assert addresses_of(node, "p0") == kept


async def test_no_pod_starts_where_the_subnet_has_no_ipv6_and_the_pool_says_so():
    async with SimulatedNode(nic=FakeNic(ours=["10.240.0.9"]), policy=DUAL).running() as node:
        with pytest.raises(NoAddress):
            await node.add("a")
        ready = node.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "RequestRefused")
        assert "its subnet has no IPv6 prefix" in ready["message"]
        assert "give the NIC's subnet an IPv6 prefix (/64), or set ipFamilies to [IPv4]" in ready["message"]
        assert node.nic.tries == 2
        assert (node.counts.free, node.counts.assigned) == (0, 0)
        node.nic.ipv6_space = IPv6Network(SPACE)
        await node.until(lambda: node.counts.free == 8, within_s=3600)
        assert len(await added(node, "a")) == 2


async def test_a_block_that_another_tool_removes_comes_back_and_pods_keep_theirs():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        given = await added(node, "a")
        node.nic.elsewhere_remove_ipv6()
        await node.until(lambda: len(node.nic.ipv6) == 1, within_s=1200)
        await node.until(lambda: node.counts.free == 7)
        assert addresses_of(node, "a") == given


async def test_nothing_is_let_go_while_azure_works_on_the_nic():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=DUAL).running() as node:
        await node.until(lambda: node.counts.free == 8)
        bound = {slot.address: slot.ipv6 for slot in node.stored.ledger.slots}
        node.nic.hold()
        node.nic.elsewhere_touch()
        assert len(await added(node, "a")) == 2
        node.nic.finish()
        assert {slot.address: slot.ipv6 for slot in node.stored.ledger.slots} == bound


async def test_a_node_of_ipv4_asks_for_none():
    async with SimulatedNode(nic=FakeNic(ipv6_space=SPACE), policy=Policy(size=8)).running() as node:
        await node.until(lambda: node.counts.free == 8)
        assert node.nic.ipv6 == []
        assert len(await added(node, "a")) == 1
