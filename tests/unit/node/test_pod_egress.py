"""Pods that leave the VNet with their own address: what annotations ask for, in the ledger and in the kernel."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.api.egress import EGRESS
from azure_cni.errors import DatapathError
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import Address
from fakes.simulated_node import SimulatedNode, holder, pod_body
from simulation.datapath import FakeDatapath
from unit.node.hanging import HangingCloud

pytestmark = pytest.mark.looptime

ALLOWED = {"egress": ["default"]}


def asking(name: str, value: str | None = "pod") -> dict[str, Any]:
    """A pod with that value of the annotation."""
    return pod_body(name, annotations={} if value is None else {EGRESS: value})


def namespace(value: str | None) -> dict[str, Any]:
    """The namespace default with that value of the annotation."""
    return {"metadata": {"name": "default", **({} if value is None else {"annotations": {EGRESS: value}})}}


async def added(node: SimulatedNode, name: str, value: str | None = "pod") -> Address:
    """A pod is seen, and wired."""
    node.node.pod_seen(asking(name, value))
    return (await node.add(name)).addresses[0]


class Wired(FakeDatapath):
    """Notes what left the VNet with its own address when each pod was wired."""

    def __init__(self) -> None:
        super().__init__()
        self.at_attach: list[frozenset[Any]] = []

    async def attach(self, spec: Any) -> Any:
        self.at_attach.append(self.own_egress & frozenset(spec.addresses))
        return await super().attach(spec)


class Settled(FakeDatapath):
    """Counts how often what leaves with its own address was changed."""

    def __init__(self) -> None:
        super().__init__()
        self.settled = 0

    async def set_egress(self, addresses: Any) -> None:
        self.settled += 1
        await super().set_egress(addresses)


async def test_a_pod_has_it_before_it_is_wired_and_others_have_not() -> None:
    node = SimulatedNode(**ALLOWED)
    node.datapath = Wired()
    async with SimulatedNode(**ALLOWED, before=node).running() as node:
        own, plain = await added(node, "own"), await added(node, "plain", None)
        assert node.datapath.at_attach == [{own}, frozenset()]
        assert node.datapath.own_egress == {own} != {plain}


async def test_a_changed_annotation_takes_effect_while_the_pod_runs() -> None:
    async with SimulatedNode(**ALLOWED).running() as node:
        address = await added(node, "p", None)
        tables = len(node.datapath.tables)
        node.node.namespace_seen(namespace(None))
        node.node.pod_seen(asking("p"))
        await node.until(lambda: node.datapath.own_egress == {address}, within_s=1)
        node.node.pod_seen(asking("p", None))
        await node.until(lambda: node.datapath.own_egress == frozenset(), within_s=1)
        assert len(node.datapath.tables) == tables  # neither is a reload of the whole table


async def test_an_annotation_that_changes_without_end_costs_two_changes_of_the_kernel_a_second() -> None:
    node = SimulatedNode(**ALLOWED)
    node.datapath = Settled()
    async with SimulatedNode(**ALLOWED, before=node).running() as node:
        address = await added(node, "p")
        before = node.datapath.settled
        for turn in range(500):
            node.node.pod_seen(asking("p", ("node", "pod")[turn % 2]))
            await asyncio.sleep(0.0217)
        assert node.datapath.settled - before <= 2 * 500 * 0.0217 + 1
        await node.until(lambda: node.datapath.own_egress == {address}, within_s=1)


async def test_a_namespaces_annotation_is_for_all_its_pods_but_those_with_one_of_their_own() -> None:
    async with SimulatedNode(**ALLOWED).running() as node:
        plain, other = await added(node, "plain", None), await added(node, "other", "node")
        node.node.namespace_seen(namespace("pod"))
        await node.until(lambda: node.datapath.own_egress == {plain}, within_s=1)
        late = await added(node, "late", None)
        assert node.datapath.own_egress == {plain, late}
        node.node.namespace_seen(namespace(None))
        await node.until(lambda: node.datapath.own_egress == frozenset(), within_s=1)
        assert other not in node.datapath.own_egress


async def test_the_next_pod_on_an_address_has_not_what_the_one_before_had() -> None:
    policy = Policy(min_free=0, max_free=1, batch=1, maximum=1)
    node = SimulatedNode(**ALLOWED, policy=policy)
    node.datapath = Wired()
    async with SimulatedNode(**ALLOWED, policy=policy, before=node).running() as node:
        address = await added(node, "first")
        await node.delete("first")
        node.node.pod_gone("uid-first")
        await node.until(lambda: node.datapath.own_egress == frozenset(), within_s=1)
        await asyncio.sleep(COOLING_S + 1)
        assert await added(node, "next", None) == address
        assert node.datapath.at_attach == [{address}, frozenset()]


async def test_it_is_cleared_before_the_next_pod_even_if_nothing_cleared_it_when_the_first_ended() -> None:
    """The agent was away, or busy, when the pod ended: the ADD itself looks."""
    policy = Policy(min_free=0, max_free=1, batch=1, maximum=1)
    node = SimulatedNode(**ALLOWED, policy=policy)
    node.datapath = Wired()
    node = SimulatedNode(**ALLOWED, policy=policy, before=node)
    reconciler = asyncio.create_task(node.reconciler.run())  # and nothing that follows annotations
    node.node.pod_seen(asking("first"))
    await node.until(lambda: node.counts.free == 1)
    address = (await node.add("first")).addresses[0]
    await node.delete("first")
    await asyncio.sleep(COOLING_AT_LIMIT_S + 1)
    assert node.datapath.own_egress == {address}
    node.node.pod_seen(asking("next", None))
    assert (await node.add("next")).addresses[0] == address
    assert node.datapath.at_attach[-1] == frozenset()
    reconciler.cancel()


async def test_a_pod_of_the_same_name_is_another_pod() -> None:
    """A StatefulSet's pod comes again under its name: what is known of the new one says nothing of the old sandbox."""
    async with SimulatedNode(**ALLOWED).running() as node:
        address = await added(node, "web-0")
        again = asking("web-0", None)
        again["metadata"]["uid"] = "another"
        node.node.pod_gone("uid-web-0")
        node.node.pod_seen(again)
        await asyncio.sleep(5)
        assert node.datapath.own_egress == {address}


async def test_the_next_agent_keeps_it_while_neither_azure_nor_the_api_server_answers() -> None:
    async with SimulatedNode(**ALLOWED).running() as first:
        address = await added(first, "p")
        await first.until(lambda: first.counts.free > 0)
    second = SimulatedNode(**ALLOWED, before=first)
    second.cloud = cloud = HangingCloud()
    second = SimulatedNode(**ALLOWED, before=second)
    cloud.hangs = True
    async with second.running():
        await second.until(lambda: second.state.ready, within_s=1)
        assert (await second.add("unseen")).addresses[0] not in second.datapath.own_egress
        assert second.datapath.own_egress == {address}


async def test_after_an_upgrade_pods_start_though_the_earlier_table_has_no_such_set() -> None:
    """Azure is silent, so the table of the agent before stays, which knows no egress."""
    async with SimulatedNode(**ALLOWED).running() as first:
        await added(first, "p", None)
        await first.until(lambda: first.counts.free > 0)
    first.datapath.lacks_egress = True
    second = SimulatedNode(**ALLOWED, before=first)
    second.cloud = cloud = HangingCloud()
    second = SimulatedNode(**ALLOWED, before=second)
    cloud.hangs = True
    async with second.running():
        await second.until(lambda: second.state.ready, within_s=1)
        assert await second.add("plain")
        second.node.pod_seen(asking("own"))
        with pytest.raises(DatapathError):
            await second.add("own")
        assert second.counts.assigned == 2


async def test_a_table_that_somebody_removed_is_made_again_with_it() -> None:
    async with SimulatedNode(**ALLOWED).running() as node:
        first = await added(node, "p")
        node.datapath.flush()
        second = await added(node, "q")
        assert node.datapath.own_egress == {first, second}
        node.datapath.flush()
        await node.reconciler.restore_network("a test")
        assert node.datapath.own_egress == {first, second}


async def test_a_table_that_waited_for_its_turn_has_the_addresses_of_the_moment() -> None:
    async with SimulatedNode(**ALLOWED).running() as node:
        address = await added(node, "p")
        for _ in range(3):
            await node.reconciler.restore_network("a test")
        assert node.datapath.tables[-1].own_egress == {address}


@pytest.mark.parametrize(
    ("allowed", "value", "reason", "words"),
    [
        ([], "pod", "EgressNotAllowed", "podNetworking.egress.namespaces"),
        (["shop"], "pod", "EgressNotAllowed", "add default to the value"),
        (["*"], "yes", "EgressInvalid", 'is "yes", and must be "pod" or "node"'),
    ],
)
async def test_a_wrong_annotation_is_an_event_and_the_pod_runs(
    allowed: list[str], value: str, reason: str, words: str
) -> None:
    async with SimulatedNode(egress=allowed).running() as node:
        address = await added(node, "p", value)
        for _ in range(5):
            node.node.pod_seen(asking("p", value))
            await asyncio.sleep(1)
        (event,) = [it for it in node.events.published if it.regarding["kind"] == "Pod"]
        assert (event.kind, event.reason, event.count) == ("Warning", reason, 1)
        assert words in event.message
        assert address not in node.datapath.own_egress


@pytest.mark.parametrize(
    ("value", "reason"), [("pod", ["EgressHostNetwork"]), ("yes", ["EgressInvalid"]), ("node", []), (None, [])]
)
async def test_a_pod_on_the_nodes_network_is_told_that_its_annotation_has_no_effect(
    value: str | None, reason: list[str]
) -> None:
    async with SimulatedNode(**ALLOWED).running() as node:
        body = asking("p", value)
        node.node.pod_seen({**body, "spec": {**body["spec"], "hostNetwork": True}})
        node.node.namespace_seen(namespace("pod"))
        await asyncio.sleep(5)
        assert [it.reason for it in node.events.published if it.regarding["kind"] == "Pod"] == reason


async def test_a_kernel_that_refuses_is_asked_again() -> None:
    async with SimulatedNode(**ALLOWED).running() as node:
        address = await added(node, "p", None)
        node.datapath.flush()
        node.datapath.refuses_node = DatapathError("cannot apply nftables table azure_cni: busy")
        node.node.pod_seen(asking("p"))
        with pytest.raises(DatapathError):
            await added(node, "q")
        assert node.counts.assigned == 1
        node.datapath.refuses_node = None
        await node.until(lambda: node.datapath.own_egress == {address}, within_s=30)


async def test_an_annotation_that_changes_without_end_is_one_event() -> None:
    """Each of its own would use up what the API server takes, and leave out the events of other pods."""
    async with SimulatedNode(**ALLOWED).running() as node:
        for turn in range(50):
            await added(node, "p", f"odd-{turn}") if not turn else node.node.pod_seen(asking("p", f"odd-{turn}"))
            await asyncio.sleep(1.0)
        events = [event for event in node.events.published if event.reason == "EgressInvalid"]
        assert len(events) == 1
        assert "odd-49" in events[0].message


class Busy(FakeDatapath):
    """A kernel in which the set cannot be changed now."""

    busy = False

    async def set_egress(self, addresses: Any) -> None:
        if self.busy:
            raise DatapathError("cannot use nftables: nft gave no answer in 20 s")
        await super().set_egress(addresses)


async def test_no_pod_is_wired_while_the_kernel_may_still_have_its_address_from_the_pod_before() -> None:
    """An agent that begins without Azure has no table of its own yet, and cannot change that of the agent before it."""
    policy = Policy(min_free=0, max_free=1, batch=1, maximum=1)
    first = SimulatedNode(**ALLOWED)
    first.datapath = kernel = Busy()
    first = SimulatedNode(**ALLOWED, before=first, policy=policy)
    async with first.running():
        address = await added(first, "own")
        await first.until(lambda: kernel.own_egress == {address}, within_s=1)
    await first.sandboxes.delete(holder("own").sandbox)
    second = SimulatedNode(**ALLOWED, before=first)
    second.cloud = cloud = HangingCloud()
    second = SimulatedNode(**ALLOWED, before=second, policy=policy)
    cloud.hangs = kernel.busy = True
    async with second.running():
        await second.until(lambda: second.state.ready, within_s=1)
        await asyncio.sleep(2 * COOLING_S)
        with pytest.raises(DatapathError):
            await added(second, "next", None)
        kernel.busy = False
        await asyncio.sleep(2 * COOLING_S)  # the node is at its limit, and what the kernel refused cools again
        assert await added(second, "next", None) == address
        assert kernel.own_egress == frozenset()


async def test_the_next_agent_keeps_what_a_namespace_gives_until_it_has_seen_the_namespace() -> None:
    """Two watches: the pods may be listed before their namespace is."""
    async with SimulatedNode(**ALLOWED).running() as first:
        first.node.namespace_seen(namespace("pod"))
        address = await added(first, "p", None)
        assert first.datapath.own_egress == {address}
    async with SimulatedNode(**ALLOWED, before=first).running() as second:
        second.node.pod_seen(asking("p", None))
        await asyncio.sleep(5)
        assert second.datapath.own_egress == {address}
        second.node.namespace_seen(namespace(None))
        await second.until(lambda: second.datapath.own_egress == frozenset(), within_s=1)
