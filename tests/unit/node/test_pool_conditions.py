"""What people and pods read: the reason that counts, and growth only where there is some."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.api.conditions import Condition, PoolKind
from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.errors import (
    AccessDenied,
    CloudUnreachable,
    ConfigInvalid,
    KubeConflict,
    KubeDenied,
    NodeNotReady,
    PreconditionFailed,
)
from azure_cni.ipam.ledger import Counts
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.failures import AT_ONCE, Activity, Failure, Failures
from azure_cni.node.pool.permissions import permission_missing
from azure_cni.node.pool.pool_conditions import conditions, forecast
from azure_cni.node.pool.pool_snapshot import Snapshot
from azure_cni.node.state import IN_CLUSTER, ON_A_VM, Advice
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

FULL = Snapshot(
    ready=True,
    counts=Counts(allocated=250, assigned=250, free=0, cooling=0, programming=0, releasing=0, missing=0),
    paused=False,
    nic_read_only=False,
    target=250,
    ceiling=250,
    requested=250,
    answered=True,
    asked_for_s=0.0,
    growing=False,
    updating=False,
    withheld=0,
    vnet_known=True,
    missing=(),
    obstacle="",
    conflicts=(),
    refusal="",
    refusal_message="",
    throttled_until="",
    now_s=0.0,
)
SILENT = CloudUnreachable("cannot write the NIC: no answer")


def counts(**fields: int) -> Counts:
    none = dict.fromkeys(("allocated", "assigned", "free", "cooling", "programming", "releasing", "missing"), 0)
    return Counts(**none | fields)


def failure(activity: Activity, error: Exception) -> Failures:
    failures = Failures()
    failures.record(activity, error, now_s=0.0)
    return failures


def condition(kind: PoolKind, snapshot: Snapshot, failures: Failures | None = None) -> Condition:
    return next(one for one in conditions(snapshot, failures or Failures()) if one.kind is kind)


@pytest.mark.parametrize(
    ("activity", "error"),
    [
        (Activity.TAINT, KubeConflict("cannot patch nodes/vm1: it was modified")),
        (Activity.VNET, CloudUnreachable("cannot read the VNet: no answer")),
        (Activity.IDENTITY, CloudUnreachable("cannot read the VM: no answer")),
        (Activity.RELEASE, SILENT),
    ],
)
def test_a_full_node_says_that_it_is_full_whatever_else_does_not_work(activity: Activity, error: Exception):
    ready = condition(PoolKind.READY, FULL, failure(activity, error))
    assert (ready.holds, ready.reason) == (False, "NodeAtLimit")


@pytest.mark.parametrize(
    ("ceiling", "bound", "advice", "words"),
    [
        (16, "max", IN_CLUSTER, "raise spec.max of the NodeIPPool (kubectl edit nodeippool vm1), or pool.max of the"),
        (16, "size", IN_CLUSTER, "raise spec.size of the NodeIPPool (kubectl edit nodeippool vm1)"),
        (16, "max", ON_A_VM, "raise pool.max in the settings of azure-cni docker"),
        (250, "max", IN_CLUSTER, "as many as one node can have: let fewer pods onto it (maxPods of its kubelet)"),
        (250, "max", ON_A_VM, "as many as one node can have: run fewer containers on it"),
    ],
)
def test_a_full_node_names_the_limit_and_what_raises_it(ceiling: int, bound: str, advice: Advice, words: str):
    held = counts(allocated=ceiling, assigned=ceiling)
    full = replace(FULL, counts=held, ceiling=ceiling, bound=bound, advice=advice, pool="vm1")
    assert words in condition(PoolKind.AT_LIMIT, full).message
    assert words in forecast(full, Failures()).for_pods


def test_a_limit_that_is_raised_with_numbers_that_cannot_be_is_the_specs_fault():
    spec = failure(Activity.SPEC, ConfigInvalid("cannot use maxFree 30: it must be at least minFree + batch"))
    ready = condition(PoolKind.READY, FULL, spec)
    assert (ready.holds, ready.reason) == (False, "InvalidConfig")
    assert "it must be at least minFree + batch; with the numbers of before this node holds 250 of" in ready.message
    assert condition(PoolKind.AT_LIMIT, FULL, spec).reason == "NodeAtLimit"


@pytest.mark.parametrize(("attempts", "reason"), [(1, "AwaitingGrant"), (2, "KubernetesDenied")])
def test_a_request_that_cannot_be_written_is_not_the_controllers_to_answer(attempts: int, reason: str):
    """The first failure may be a race. Pods learn nothing of the API server's words."""
    failures = Failures()
    for _ in range(attempts):
        failures.record(Activity.REQUEST, KubeDenied("cannot patch nodeippools/vm1: forbidden"), now_s=0.0)
    asking = replace(FULL, counts=counts(allocated=16, assigned=16), target=32, answered=False)
    expected = forecast(asking, failures)
    assert expected.reason == reason
    assert "forbidden" not in expected.for_pods
    assert ("forbidden" in expected.message) == (attempts > 1)


@pytest.mark.looptime
@pytest.mark.parametrize(("policy", "bound"), [(Policy(maximum=16), "spec.max"), (Policy(size=16), "spec.size")])
async def test_a_node_knows_by_what_it_is_bound(policy: Policy, bound: str):
    async with SimulatedNode(policy=policy).running() as node:
        await node.until(lambda: node.counts.allocated == 16 and bool(node.status.get("conditions")))
        await node.until(lambda: f"raise {bound} of the NodeIPPool" in node.condition("AtLimit")["message"])


def test_what_keeps_pods_waiting_is_reported():
    short = replace(FULL, counts=counts(allocated=16, assigned=16), target=32)
    ready = condition(PoolKind.READY, short, failure(Activity.GROW, AccessDenied("no right to write")))
    assert (ready.holds, ready.reason) == (False, "AccessDenied")


@pytest.mark.parametrize("activity", [Activity.GROW, Activity.READ, None])
def test_words_on_a_vm_without_kubernetes_name_none_of_its_commands(activity: Activity | None):
    """The same node in a cluster names them."""
    error = AccessDenied("no right to write")
    failures = failure(activity, error) if activity else Failures()
    grows = replace(FULL, counts=counts(allocated=16, assigned=16), target=32, retry_at={Activity.GROW: "12:00"})
    for one in (grows, replace(grows, answered=False, asked_for_s=60.0)):
        for advice, others in ((ON_A_VM, False), (IN_CLUSTER, True)):
            snapshot = replace(one, advice=advice)
            expected = forecast(snapshot, failures)
            words = " ".join((expected.for_pods, *(one.message for one in conditions(snapshot, failures))))
            named = any(word in words for word in ("kubectl", "annotation", "component=controller"))
            assert named == (others and bool(activity or not snapshot.answered)), words
            assert ("azure-cni docker status" in words) == (advice is ON_A_VM and activity is not None), words


@pytest.mark.parametrize(
    ("advice", "said"), [(ON_A_VM, "recreate these containers"), (IN_CLUSTER, "delete these pods")]
)
def test_what_gives_those_a_new_address_that_lost_theirs_goes_by_where_it_is(advice: Advice, said: str):
    drifted = condition(PoolKind.DRIFTED, replace(FULL, missing=(IPv4Address("10.240.0.9"),), advice=advice))
    assert f"removed them: {said} to give them new ones" in drifted.message


@pytest.mark.looptime
@pytest.mark.parametrize("in_cluster", [True, False])
async def test_where_a_refused_container_is_sent_goes_by_where_it_is(*, in_cluster: bool):
    async with SimulatedNode(in_cluster=in_cluster, nic=FakeNic(room=0)).running() as node:
        await node.until(lambda: bool(node.state.forecast.brief))
        assert ("azure-cni docker status" in node.state.forecast.for_pods) == (not in_cluster)
        assert ("kubectl" in node.state.forecast.for_pods) == in_cluster


def test_a_node_that_takes_pods_names_its_failure_too():
    fine = replace(FULL, counts=counts(allocated=16, free=16))
    ready = condition(PoolKind.READY, fine, failure(Activity.TAINT, KubeConflict("it was modified")))
    assert (ready.holds, ready.reason) == (True, "KubernetesConflict")
    assert "it was modified" in ready.message


def test_a_node_that_starts_says_what_it_waits_for():
    starting = replace(FULL, ready=False, counts=counts(), vnet_known=False)
    assert condition(PoolKind.READY, starting).reason == "AgentStarting"
    failing = failure(Activity.IDENTITY, CloudUnreachable("cannot ask IMDS: no answer"))
    assert condition(PoolKind.READY, starting, failing).reason == "AzureUnreachable"
    wiring = failure(Activity.KERNEL, NodeNotReady("no uplink"))
    assert condition(PoolKind.READY, starting, wiring).reason == "NodeNotReady"


def test_only_a_write_that_adds_addresses_is_growth():
    grows = replace(FULL, growing=True, updating=True, counts=counts(allocated=16, assigned=16), target=32)
    assert condition(PoolKind.GROWING, grows).reason == "NicWriteInFlight"
    assert forecast(grows, Failures()).reason == "PoolGrowing"
    shrinks = replace(grows, growing=False, counts=counts(allocated=48, assigned=16, releasing=32), target=16)
    assert not condition(PoolKind.GROWING, shrinks).holds
    reported = forecast(shrinks, Failures())
    assert (reported.available_soon, reported.reason) == (True, "NicUpdating")
    repairs = replace(FULL, updating=True)
    assert not condition(PoolKind.GROWING, repairs).holds
    assert (forecast(repairs, Failures()).available_soon, forecast(repairs, Failures()).reason) == (
        False,
        "NodeAtLimit",
    )


def test_pods_may_hope_for_what_is_withheld_unless_it_cannot_be_got_back():
    withheld = replace(FULL, counts=counts(allocated=250, assigned=218, releasing=32), withheld=32)
    reported = forecast(withheld, Failures())
    assert (reported.available_soon, reported.reason) == (True, "NicUpdating")
    assert "32" in reported.message
    assert forecast(withheld, failure(Activity.RELEASE, SILENT)).reason == "AzureUnreachable"
    assert forecast(replace(withheld, paused=True), Failures()).reason == "NodeAtLimit"


@pytest.mark.looptime
async def test_a_pool_that_shrinks_does_not_say_that_it_grows():
    async with SimulatedNode(nic=FakeNic(), policy=Policy(size=20)).running() as node:
        await node.until(lambda: node.counts.free == 20)
        node.nic.hold()
        node.pools.edit_spec(size=16)
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: node.counts.releasing == 4, within_s=400)
        await asyncio.sleep(10)
        assert node.condition("Growing")["status"] == "False"
        node.nic.finish()
        await node.until(lambda: node.counts.allocated == 16)
        node.nic.hold()
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.pools.edit_spec(size=40)
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: node.condition("Growing")["reason"] == "NicWriteInFlight", within_s=10)
        node.nic.finish()


def test_a_write_that_lost_a_race_is_waited_for_while_it_is_made_again_soon():
    """At once, or when Azure has done what won: pods need not fail for that. Losing repeatedly is reported."""
    lost_race = failure(Activity.GROW, PreconditionFailed("cannot change the NIC: changed since it was read"))
    waiting = replace(FULL, counts=counts(allocated=16, assigned=16), updating=True)
    seen = forecast(waiting, lost_race)
    assert (seen.available_soon, seen.reason) == (True, "NicUpdating")
    at_rest = replace(waiting, updating=False)
    assert forecast(at_rest, lost_race).available_soon
    for _ in range(AT_ONCE):
        lost_race.record(Activity.GROW, PreconditionFailed("cannot change the NIC: it changed again"), now_s=0.0)
    assert (forecast(at_rest, lost_race).available_soon, forecast(at_rest, lost_race).reason) == (
        False,
        "ChangedMeanwhile",
    )


def test_all_conflicts_of_the_host_stand_in_one_condition():
    conflicts = tuple(Conflict(reason, f"by {name}") for reason, name in zip(ConflictReason, "abcdefgh", strict=False))
    reported = condition(PoolKind.HOST_CONFLICT, replace(FULL, conflicts=conflicts))
    assert (reported.holds, reported.reason) == (True, next(iter(ConflictReason)).value)
    assert reported.message == "; ".join(one.message for one in conflicts)


def test_one_address_is_counted_as_one():
    one = replace(FULL, counts=counts(allocated=1, free=1), target=1, ceiling=1)
    reported = [condition(kind, one).message for kind in (PoolKind.READY, PoolKind.GROWING, PoolKind.AT_LIMIT)]
    assert reported == [
        "1 address is free",
        "1 address on the NIC, as wanted",
        "this node holds 1 of at most 1 address: 0 assigned, 0 cooling, 1 free",
    ]


@pytest.mark.looptime
async def test_each_growth_is_an_event_with_its_own_number():
    """Counted as one event, "(x3) added 2 addresses" said something that was not so."""
    async with SimulatedNode(policy=Policy(min_free=1, max_free=3, batch=2)).running() as node:
        for index in range(5):
            node.demand.observe_pod(pod_body(f"p{index}"))
            await node.add(f"p{index}")
        await node.until(lambda: node.events.reasons.count("PoolGrew") > 1)
    grown = [event for event in node.events.published if event.reason == "PoolGrew"]
    assert {event.count for event in grown} == {1}
    assert len({event.message for event in grown}) == len(grown)


def test_a_permission_that_many_resources_lack_is_said_in_a_few_sentences() -> None:
    """The API server refuses a condition of more than 32,768 characters, and nobody reads one."""
    said = "cannot change NIC vm1-nic: the identity may not join " + 30 * "a pool with a long ID "
    failures = [Failure(Activity.ATTACH, AccessDenied(f"{said}{number}"), 1, 0.0, 0.0) for number in range(200)]
    condition = permission_missing(failures, ready=True, allocated=20)
    assert len(condition.message) < 5000
    assert condition.message.endswith(". And 195 more")
