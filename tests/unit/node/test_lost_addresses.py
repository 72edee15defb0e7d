"""Another tool drops addresses that pods have from the NIC: the same are asked for again, before anything else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from azure_cni.errors import AccessDenied, CloudUnreachable, Throttled
from azure_cni.ipam.ledger import State
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S
from azure_cni.ipam.recovery import REMOVALS_AT_ONCE
from azure_cni.ipam.sizing import Policy
from azure_cni.model.config_names import STATIC_SUFFIX
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.metadata import FakeMetadata
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.attaching import answering, busy, fails

pytestmark = pytest.mark.looptime

NOTICED_S = 20.0
"""By the metadata service's hint."""
OF_ANOTHER = "/subscriptions/s/networkInterfaces/vm2-nic/ipConfigurations/azure-cni-1a2b3c4d"
SMALL = Policy(min_free=2, max_free=8, batch=4)


def list_pods(node: SimulatedNode, count: int) -> None:
    """The API server's list of the node's pods."""
    node.demand.begin_list()
    node.demand.replace([pod_body(f"p{number}") for number in range(count)])
    node.reconciler.wake()


@asynccontextmanager
async def with_pods(count: int = 6, *, policy: Policy = SMALL, **options: Any) -> AsyncIterator[SimulatedNode]:
    """A node with pods, some time after anything changed; `controlled` by a controller that grants `most`."""
    nic = options.pop("nic", None) or FakeNic()
    node = SimulatedNode(nic=nic, policy=policy, shown_addresses=FakeMetadata(nic), **options)
    async with node.running():
        list_pods(node, count)
        await node.until(lambda: node.state.ready and node.counts.free > 0)
        for number in range(count):
            await node.until(lambda: node.counts.free > 0)
            await node.add(f"p{number}")
        await asyncio.sleep(60)
        yield node


def of_pods(node: SimulatedNode) -> set[IPv4Address]:
    return {slot.address for slot in node.stored.ledger.slots if slot.holder is not None}


def answered_for(node: SimulatedNode) -> set[IPv4Address]:
    """The pods' addresses that the NIC has."""
    return of_pods(node) & node.nic.addresses


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


async def test_a_tool_that_does_it_again_and_again_costs_few_writes_and_is_reported() -> None:
    async with with_pods() as node:
        had = of_pods(node)
        for _ in range(REMOVALS_AT_ONCE):
            node.nic.elsewhere_forget()
            await asyncio.sleep(60)
            assert answered_for(node) == had
        tries, drifted = node.nic.tries, set[str]()
        for _ in range(80):
            node.nic.elsewhere_forget()
            await asyncio.sleep(15)
            drifted.add(node.condition("Drifted")["message"])
        assert node.nic.tries - tries <= 45  # in twenty minutes: for what pods lost, for the pool, and lost races
        words = r"are asked for again; another tool removed addresses \d+ times in a row.*find what writes this NIC"
        assert any(re.search(words, message) for message in drifted)
        (event,) = [event for event in node.events.published if event.reason == "AddressesRemovedAgain"]
        assert re.search(r"removed addresses \d+ times in a row, each time within 120 s after", event.message)
        await asyncio.sleep(BACKOFF_MAX_S + NOTICED_S)
        assert answered_for(node) == had
        assert node.condition("Drifted")["status"] == "False"


async def until_it_rests(node: SimulatedNode) -> None:
    """A tool has removed all so often that the node waits before it asks again."""
    for _ in range(20):
        node.nic.elsewhere_forget()
        await asyncio.sleep(15)
        if "in a row" in node.condition("Drifted")["message"] and not answered_for(node):
            return
    raise AssertionError(node.condition("Drifted"))


async def test_a_pod_that_waits_meanwhile_gets_an_address_at_once() -> None:
    async with with_pods() as node:
        await until_it_rests(node)
        node.demand.observe_pod(pod_body("new"))
        began_s = node.clock.boottime_s()
        (address,) = (await node.add("new")).addresses
        assert address in node.nic.addresses
        assert node.clock.boottime_s() - began_s < 5


async def test_a_person_that_has_stopped_the_tool_ends_the_pause() -> None:
    async with with_pods() as node:
        had = of_pods(node)
        await until_it_rests(node)
        node.pools.annotate(**{"azure-cni.io/read-now": "2026-11-29T12:00:00Z"})
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: answered_for(node) == had, within_s=5)


@asynccontextmanager
async def with_a_used_up_quota() -> AsyncIterator[tuple[SimulatedNode, asyncio.Task[None]]]:
    """Eight pods, and a controller that grants no more than their addresses."""
    nic = FakeNic()
    node = SimulatedNode(nic=nic, policy=SMALL, shown_addresses=FakeMetadata(nic), grants=ControllerGrants())
    async with node.running():
        controller = asyncio.create_task(answering(node, most=8))
        await node.until(lambda: node.state.ready and node.counts.free == 4)
        list_pods(node, 8)
        for number in range(8):
            await node.until(lambda: node.counts.free > 0)
            await node.add(f"p{number}")
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        await asyncio.sleep(300)
        yield node, controller
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


async def lowest_request(node: SimulatedNode, *, for_s: int) -> int:
    """The least that the node asks to hold meanwhile: what is above it, the controller may give to another node."""
    requested = set[int]()
    for _ in range(for_s):
        await asyncio.sleep(1)
        requested.add(node.status["requested"])
    return min(requested)


async def test_with_a_used_up_quota_the_node_keeps_what_it_was_granted() -> None:
    async with with_a_used_up_quota() as (node, _):
        had = of_pods(node)
        node.nic.elsewhere_forget()
        assert await lowest_request(node, for_s=40) >= 8
        assert answered_for(node) == had


async def test_and_while_azure_works_on_what_the_tool_wrote() -> None:
    async with with_a_used_up_quota() as (node, _):
        had = of_pods(node)
        node.nic.hold()
        node.nic.elsewhere_forget()
        assert await lowest_request(node, for_s=60) >= 8
        assert answered_for(node) == set()
        node.nic.finish()
        await asyncio.sleep(NOTICED_S)
        assert answered_for(node) == had


async def test_what_the_quota_has_no_place_for_displaces_no_repair_that_waits_for_its_turn() -> None:
    async with with_a_used_up_quota() as (node, generous):
        generous.cancel()
        controller = asyncio.create_task(busy(node, most=2))
        for _ in range(2):  # the first time by the grant that it has
            node.nic.elsewhere_forget()
            await asyncio.sleep(2 * NOTICED_S)
        assert len(answered_for(node)) == 2
        await fails(node)
        await node.until(lambda: node.status["writeIntent"] == "Rewrite", within_s=60)
        asked = node.status["requestID"]
        await asyncio.sleep(300)
        assert (node.status["requestID"], node.status["writeIntent"]) == (asked, "Rewrite")
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


async def test_a_failure_to_take_back_ends_with_the_pods_also_while_the_node_wants_more_than_it_gets() -> None:
    async with with_a_used_up_quota() as (node, _):
        node.nic.refusal = Throttled("cannot write NIC: too many requests")
        node.nic.elsewhere_forget()
        await node.until(lambda: node.condition("Throttled")["status"] == "True", within_s=60)
        node.nic.refusal = None
        for number in range(8):
            await node.delete(f"p{number}")
        node.demand.replace([pod_body(f"later{number}") for number in range(30)])
        node.reconciler.wake()
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True", within_s=300)
        await node.until(lambda: node.condition("Throttled")["status"] == "False", within_s=300)


async def test_what_the_pool_has_no_place_for_displaces_no_repair_either() -> None:
    nic, full = FakeNic(), Policy(min_free=2, max_free=8, batch=4, maximum=4)
    node = SimulatedNode(nic=nic, policy=full, shown_addresses=FakeMetadata(nic), grants=ControllerGrants())
    async with node.running():
        controller = asyncio.create_task(answering(node))
        list_pods(node, 4)
        for number in range(4):
            await node.until(lambda: node.counts.free > 0)
            await node.add(f"p{number}")
        taken = max(of_pods(node))
        nic.taken[taken] = OF_ANOTHER
        nic.elsewhere_forget()
        node.demand.observe_pod(pod_body("later"))  # it gets the place of what another has
        node.reconciler.wake()
        await node.until(lambda: node.counts.free == 1, within_s=120)
        await node.add("later")
        del nic.taken[taken]
        await asyncio.sleep(2 * BACKOFF_MAX_S)  # by then it could be had
        assert node.counts.missing == 1
        controller.cancel()
        controller = asyncio.create_task(answering(node, delay_s=60))  # others have their turn first
        writes = nic.writes
        await fails(node)
        await node.until(lambda: nic.writes > writes, within_s=300)
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


@pytest.mark.parametrize(
    "policy", [Policy(size=8), Policy(size=8, maximum=8), Policy(min_free=2, max_free=10, batch=8, maximum=8)]
)
async def test_idle_addresses_take_no_place_of_those_that_azure_counts_as_used_for_minutes(policy: Policy) -> None:
    async with with_pods(6, policy=policy) as node:
        had = of_pods(node)
        node.nic.taken |= dict.fromkeys(had, OF_ANOTHER)
        node.nic.elsewhere_forget()
        await asyncio.sleep(3 * 60)
        assert node.counts.free >= 2
        node.nic.taken.clear()
        await node.until(lambda: answered_for(node) == had, within_s=2 * BACKOFF_REFUSED_S)


async def test_in_a_full_subnet_while_growth_rests() -> None:
    async with with_pods(4, nic=FakeNic(room=4)) as node:
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
        await asyncio.sleep(600)
        had = of_pods(node)
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S)
        assert answered_for(node) == had


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
