"""When what failed is tried again: every wait has an end, and what cannot help is not repeated every two minutes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.errors import (
    LONGEST_RETRY_AFTER_S,
    AccessDenied,
    CloudError,
    CloudUnreachable,
    DatapathError,
    KubeInvalid,
    KubeUnreachable,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
)
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S
from azure_cni.node.pool.failures import Activity, Failures
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

DAY_S = 86_400.0
LOCKED = RequestRefused("cannot write the NIC: it is locked (ScopeLocked)", azure_code="ScopeLocked")
DENIED = AccessDenied("cannot write the NIC: Microsoft.Network/networkInterfaces/write is missing", action="write")


def wait_s(failures: Failures, activity: Activity, error: CloudError, *, attempts: int = 1) -> float:
    for _ in range(attempts):
        failures.record(activity, error, now_s=0.0)
    failure = failures.get(activity)
    assert failure is not None
    return failure.retry_at_s


@pytest.mark.parametrize("kind", [ResourceBusy, CloudUnreachable, Throttled, CloudError, RequestRefused, SubnetFull])
def test_no_error_makes_a_node_wait_for_a_day(kind: type[CloudError]):
    asked = kind("come back tomorrow", retry_after_s=DAY_S)
    for activity in (Activity.GROW, Activity.READ, Activity.IDENTITY):
        waited_s = wait_s(Failures(jitter=lambda: 0.5), activity, asked, attempts=20)
        assert LONGEST_RETRY_AFTER_S <= waited_s <= LONGEST_RETRY_AFTER_S + BACKOFF_REFUSED_S


@pytest.mark.parametrize("error", [LOCKED, DENIED])
def test_only_writes_that_azure_refuses_wait_for_up_to_a_quarter_of_an_hour(error: CloudError):
    longest = {activity: wait_s(Failures(jitter=lambda: 1.0), activity, error, attempts=30) for activity in Activity}
    assert longest.pop(Activity.RECOVER) == BACKOFF_REFUSED_S
    assert longest.pop(Activity.GROW) == BACKOFF_REFUSED_S
    assert longest.pop(Activity.ATTACH) == BACKOFF_REFUSED_S
    assert longest.pop(Activity.REPAIR) == BACKOFF_REFUSED_S
    assert longest.pop(Activity.RELEASE) == BACKOFF_REFUSED_S
    assert longest.pop(Activity.GROUPS) == BACKOFF_REFUSED_S
    assert set(longest.values()) == {BACKOFF_MAX_S}


def test_a_subnet_that_had_some_begins_the_pauses_again():
    failures = Failures(jitter=lambda: 1.0)
    assert wait_s(failures, Activity.GROW, SubnetFull("full"), attempts=6) > 60
    assert wait_s(failures, Activity.GROW, SubnetFull("had 3", added=3)) == 2.0
    assert wait_s(failures, Activity.GROW, SubnetFull("full")) == 4.0


def test_a_failure_outlives_what_it_is_about_by_the_longest_pause():
    failures = Failures(jitter=lambda: 1.0)
    failures.record(Activity.GROW, SubnetFull("full"), now_s=0.0)
    failures.lapse(Activity.GROW, now_s=BACKOFF_MAX_S - 1)
    assert failures.get(Activity.GROW) is not None
    failures.lapse(Activity.GROW, now_s=BACKOFF_MAX_S)
    assert failures.get(Activity.GROW) is None


def test_what_azure_asked_to_wait_for_is_not_hurried():
    failures = Failures()
    failures.record(Activity.GROW, LOCKED, now_s=0.0)
    failures.record(Activity.READ, Throttled("wait", retry_after_s=600.0), now_s=0.0)
    failures.hurry(now_s=1.0)
    assert not failures.blocks(Activity.GROW, now_s=1.0)
    assert failures.blocks(Activity.READ, now_s=599.0)


@pytest.mark.looptime
@pytest.mark.parametrize("error", [LOCKED, DENIED])
async def test_half_an_hour_of_a_refusal_costs_few_writes_and_says_what_must_change_and_when(error: CloudError):
    nic = FakeNic()
    write = nic.write
    refusing = True

    async def refused(*args: Any, **options: Any):
        if refusing:
            nic.tries += 1
            raise error
        return await write(*args, **options)

    nic.write = refused
    node = SimulatedNode(nic=nic)
    async with node.running():
        await asyncio.sleep(1800)
        assert nic.tries <= 14
        ready = node.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", error.reason)
        assert str(error) in ready["message"]
        assert "this must be changed first" in ready["message"]
        assert "tried again at 2027-01-15T08:" in ready["message"]
        reported = [event.message for event in node.events.published if event.reason == error.reason]
        assert len(reported) == 1
        assert "when the pool's spec changes" in reported[0]
        refusing = False
        await asyncio.sleep(5)
        assert node.counts.allocated == 0
        node.pools.edit_spec(minFree=9)
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: node.counts.allocated == 16, within_s=10)


@pytest.mark.looptime
async def test_a_kernel_that_refuses_before_the_node_is_wired_is_reported_once_and_with_pauses():
    node = SimulatedNode()
    tried = 0

    async def apply_node(_: object):
        nonlocal tried
        tried += 1
        raise DatapathError("cannot find the uplink: no interface has the MAC")

    node.datapath.apply_node = apply_node
    async with node.running():
        await asyncio.sleep(600)
    assert tried <= 2 * 14  # the status, and the request in it, each with its pauses
    assert node.events.reasons.count("DatapathFailed") == 1


@pytest.mark.looptime
@pytest.mark.parametrize("error", [KubeInvalid("the status is not valid"), KubeUnreachable("no answer")])
async def test_a_status_that_cannot_be_written_is_tried_with_pauses(error: Exception):
    node = SimulatedNode()
    async with node.running():
        await node.until(lambda: node.status.get("allocated") == 16)
        await node.until(lambda: node.condition("Ready")["status"] == "True")
        tried = 0

        async def patch_status(*_: object, **__: object):
            nonlocal tried
            tried += 1
            raise error

        node.pools.patch_status = patch_status
        await node.add("p")
        await asyncio.sleep(600)
    assert tried <= 2 * 14  # the status, and the request in it, each with its pauses
    assert node.events.reasons.count(error.reason) == 1
