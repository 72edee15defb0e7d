"""Another tool drops addresses that pods have from the NIC: the same are asked for again, before anything else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.errors import AccessDenied, CloudUnreachable
from azure_cni.ipam.ledger import State
from azure_cni.ipam.sizing import Policy
from azure_cni.model.config_names import STATIC_SUFFIX
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.losing import NOTICED_S, OF_ANOTHER, SMALL, answered_for, list_pods, of_pods, with_pods

pytestmark = pytest.mark.looptime


async def test_all_come_back_in_one_write_before_anything_else() -> None:
    async with with_pods() as node:
        writes, had = node.nic.writes, of_pods(node)
        node.nic.elsewhere_forget()
        assert answered_for(node) == set()
        await asyncio.sleep(NOTICED_S)
        assert answered_for(node) == had == of_pods(node)
        assert node.nic.writes >= writes + 1
        assert node.counts.missing == 0
        await asyncio.sleep(10)
        assert node.condition("Drifted")["status"] == "False"
        assert node.counts.free >= 2  # what the pool keeps ready has come, too
        assert node.observer.recorded.count(("repaired", "lost_address")) == 1
        said = [event.message for event in node.events.published if event.reason == "PoolGrew"]
        assert any("another tool removed 6 addresses that pods have" in one for one in said)


async def test_what_came_back_is_ours_and_leaves_when_its_pod_has() -> None:
    async with with_pods(shrink_delay_s=60.0) as node:
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S)
        for number in range(6):
            await node.delete(f"p{number}")
            node.demand.forget_pod(f"uid-p{number}")
        await node.until(lambda: node.counts.allocated <= 8, within_s=600)
        view = await node.nic.read()
        assert all(config.ours for config in view.secondaries)


async def test_a_pod_that_came_back_keeps_its_address_when_it_is_lost_again() -> None:
    async with with_pods(1) as node:
        (had,) = of_pods(node)
        for _ in range(3):
            node.nic.elsewhere_forget()
            await asyncio.sleep(2 * NOTICED_S)
            assert answered_for(node) == {had}
        (slot,) = (slot for slot in node.stored.ledger.slots if slot.holder is not None)
        assert slot.config.count(STATIC_SUFFIX) == 1


async def test_what_pods_give_back_while_azure_adds_it_again_cools_as_ever() -> None:
    async with with_pods(cooling_s=600.0) as node:
        had = of_pods(node)
        node.nic.elsewhere_forget()
        node.nic.hold()
        await node.until(lambda: had <= node.nic.addresses, within_s=60)
        for number in range(6):
            await node.delete(f"p{number}")
        node.nic.finish()
        await asyncio.sleep(60)
        cooling = {slot.address for slot in node.stored.ledger.slots if slot.state is State.COOLING}
        assert cooling == had


async def test_what_another_has_by_then_is_told_on_its_pod_and_the_others_come_back() -> None:
    async with with_pods() as node:
        taken = max(of_pods(node))
        node.nic.taken[taken] = OF_ANOTHER
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S)
        assert answered_for(node) == of_pods(node) - {taken}
        await asyncio.sleep(10)
        drifted = node.condition("Drifted")
        assert (drifted["status"], drifted["reason"]) == ("True", "AddressesLost")
        assert str(taken) in drifted["message"]
        assert OF_ANOTHER in drifted["message"]
        (event,) = [event for event in node.events.published if event.reason == "AddressLost"]
        (slot,) = (slot for slot in node.stored.ledger.slots if slot.address == taken)
        assert slot.holder is not None
        assert event.regarding["name"] == slot.holder.pod_name
        assert f"another tool removed {taken}" in event.message
        tries = node.nic.tries
        await asyncio.sleep(1800)
        assert node.nic.tries - tries <= 10
        assert len([event for event in node.events.published if event.reason == "AddressLost"]) == 1
        del node.nic.taken[taken]
        await asyncio.sleep(1000)
        assert answered_for(node) == of_pods(node)
        assert node.condition("Drifted")["status"] == "False"


async def test_without_a_cluster_there_is_no_pod_to_tell() -> None:
    async with with_pods(2, in_cluster=False) as node:
        taken = max(of_pods(node))
        node.nic.taken[taken] = OF_ANOTHER
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S + 10)
        assert "recreate these containers" in node.condition("Drifted")["message"]
        assert not [event for event in node.events.published if event.reason == "AddressLost"]


async def test_what_another_has_is_let_go_with_its_pod() -> None:
    async with with_pods(1) as node:
        (taken,) = of_pods(node)
        node.nic.taken[taken] = OF_ANOTHER
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S)
        await node.delete("p0")
        tries = node.nic.tries
        await asyncio.sleep(1800)
        assert node.nic.tries == tries
        assert node.condition("Drifted")["status"] == "False"


async def test_a_failed_nic_that_is_rewritten_without_ours() -> None:
    """Cluster API rewrites a NIC because it is Failed: by a growth of ours that failed, say."""
    async with with_pods() as node:
        had = of_pods(node)
        node.nic.fail_growth = operation_failed()
        for number in range(6, 12):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await asyncio.sleep(1)
        node.nic.elsewhere_forget()
        await asyncio.sleep(2 * NOTICED_S)
        assert had <= node.nic.addresses
        assert not (await node.nic.read()).failed


@pytest.mark.parametrize("options", [{"policy": Policy(paused=True)}, {"nic_read_only": True}], ids=["paused", "none"])
async def test_nothing_is_asked_for_where_nothing_is_to_be_written(options: dict[str, Any]) -> None:
    nic = FakeNic(ours=["10.240.0.5", "10.240.0.6"])
    async with with_pods(1, nic=nic, **options) as node:
        node.nic.elsewhere_forget()
        await asyncio.sleep(120)
        assert node.nic.tries == 0
        message = node.condition("Drifted")["message"]
        assert "delete these pods to give them new ones" in message
        assert "asked for again" not in message


async def test_what_others_made_is_theirs_to_take_away() -> None:
    nic = FakeNic(adopted=["10.240.0.5"])
    async with with_pods(1, nic=nic, policy=Policy(size=1)) as node:
        (had,) = of_pods(node)
        node.nic.elsewhere_remove("adopted-10-240-0-5")
        node.nic.taken[had] = OF_ANOTHER
        await asyncio.sleep(120)
        assert "delete these pods" in node.condition("Drifted")["message"]
        assert "AddressLost" not in node.events.reasons


async def test_a_write_that_azure_denies_is_told_and_made_again_later() -> None:
    async with with_pods() as node:
        had = of_pods(node)
        node.nic.refusal = AccessDenied("cannot write NIC: the identity may not")
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S + 10)
        message = node.condition("Drifted")["message"]
        assert "are asked for again, and that failed: cannot write NIC: the identity may not" in message
        node.nic.refusal = None
        await asyncio.sleep(300)
        assert answered_for(node) == had


async def test_an_answer_that_is_lost_is_no_second_address() -> None:
    async with with_pods() as node:
        had = of_pods(node)
        node.nic.fail_operation = CloudUnreachable("no answer")  # accepted, and then not heard of
        node.nic.elsewhere_forget()
        await asyncio.sleep(2 * NOTICED_S)
        assert answered_for(node) == had


async def test_the_next_agent_asks_for_them() -> None:
    async with with_pods() as node:
        had = of_pods(node)
    node.nic.elsewhere_forget()
    async with SimulatedNode(before=node, policy=SMALL).running() as successor:
        list_pods(successor, 6)
        await successor.until(lambda: had <= successor.nic.addresses, within_s=10)


async def test_nothing_is_asked_for_before_the_pods_of_the_node_are_known_and_only_for_those_that_are_here() -> None:
    """The ledger may be on a disk that was made from another node's: its pods live there, with these addresses."""
    async with with_pods(policy=Policy(size=6)) as node:
        here, had = node.stored.ledger.slots[0], of_pods(node)
    node.nic.elsewhere_forget()
    node.nic.taken |= dict.fromkeys(had - {here.address}, OF_ANOTHER)
    async with SimulatedNode(before=node, policy=Policy(size=6)).running() as successor:
        successor.demand.observe_pod(pod_body("p0"))
        await asyncio.sleep(60)
        assert here.address not in {one.address for one in (await successor.nic.read()).secondaries if one.static}
        list_pods(successor, 1)
        assert here.holder is not None
        assert here.holder.pod_name == "p0"
        await successor.until(lambda: here.address in successor.nic.addresses, within_s=10)
        await asyncio.sleep(300)
        assert "AddressLost" not in successor.events.reasons
