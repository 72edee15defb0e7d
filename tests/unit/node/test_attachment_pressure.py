"""Attachments that Azure refuses, and annotations that change without end: what they cost a node and its other pods."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.errors import DatapathError, NoAddress, RequestRefused
from azure_cni.ipam.limits import COOLING_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import AttachmentChange
from fakes.nic import FakeNic, operation_failed
from unit.node.attaching import ADDRESS, NONE, WEB, WEB2, ended, node, show, started

pytestmark = pytest.mark.looptime

FULL = RequestRefused(f"cannot change NIC vm1-nic: Azure refuses it (PoolIsFull): {WEB.id} has no place left")


class FullPool(FakeNic):
    """A pool that takes one member."""

    def _changed_resources(self, attach: tuple[AttachmentChange, ...]) -> dict[str, frozenset[AttachedResource]]:  # type: ignore[override]
        after = super()._changed_resources(attach)
        if sum(WEB in held for held in after.values()) > 1:
            raise FULL
        return after


async def test_a_resource_that_is_refused_to_one_pod_and_works_for_another_is_tried_with_pauses() -> None:
    async with node(nic=FullPool()).running() as one:
        first = await started(one, "first", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(first) == {WEB})
        second = await started(one, "second", pools=WEB.id)
        tries = one.nic.tries
        await asyncio.sleep(600.0)
        assert one.nic.tries - tries < 15
        assert one.nic.attached_to(first) == {WEB}
        assert one.nic.attached_to(second) == NONE


async def test_an_annotation_that_changes_without_end_costs_a_bounded_number_of_writes() -> None:
    async with node().running() as one:
        await started(one, "web")
        tries = one.nic.tries
        for turn in range(600):
            show(one, "web", pools=WEB.id if turn % 2 else "")
            await asyncio.sleep(1.0)
        assert one.nic.tries - tries <= 80
        show(one, "web", pools=WEB.id)
        await one.until(lambda: list(one.nic.resources.values()) == [{WEB}])


async def test_a_refused_annotation_that_comes_and_goes_is_tried_with_pauses_and_holds_no_growth_up() -> None:
    async with node().running() as one:
        await started(one, "web")
        one.nic.refused_resources[WEB.id] = FULL
        tries = one.nic.tries
        for turn in range(600):
            show(one, "web", pools=WEB.id if turn % 2 else "")
            await asyncio.sleep(1.0)
        assert one.nic.tries - tries < 15


@pytest.mark.parametrize("named", [True, False])
async def test_what_azure_accepts_and_then_fails_on_is_removed_and_blocks_nothing(*, named: bool) -> None:
    async with node(nic=FailingNic(WEB2, named=named)).running() as one:
        good = await started(one, "good", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(good) == {WEB})
        bad = await started(one, "bad", pools=WEB2.id)
        await asyncio.sleep(30.0)
        await one.until(lambda: one.nic.attached_to(bad) == NONE and not one.nic.failed, within_s=60.0)
        for number in range(6):
            await started(one, f"plain-{number}")
        assert one.nic.attached_to(good) == {WEB}


@pytest.mark.parametrize("named", [True, False])
async def test_the_next_agent_removes_what_azure_failed_on_and_nothing_that_works(*, named: bool) -> None:
    one = node(nic=FailingNic(WEB2, named=named))
    async with one.running():
        good = await started(one, "good", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(good) == {WEB})
        bad = await started(one, "bad", pools=WEB2.id)
        await one.until(lambda: one.nic.failed)
    assert one.nic.attached_to(bad) == {WEB2}
    async with node(before=one).running() as after:
        for name, resource in (("good", WEB), ("bad", WEB2)):
            show(after, name, pools=resource.id)
        await after.until(lambda: after.nic.attached_to(bad) == NONE and not after.nic.failed, within_s=600.0)
        for number in range(6):
            await started(after, f"plain-{number}")
        assert after.nic.attached_to(good) == {WEB}


class FailingNic(FakeNic):
    """Each operation that leaves the resource on the NIC ends Failed, and the NIC goes on showing it."""

    def __init__(self, resource: AttachedResource, *, named: bool) -> None:
        super().__init__()
        self._resource, self._named = resource, named

    @property
    def failed(self) -> bool:
        return self._failed

    def _changed_resources(self, attach: tuple[AttachmentChange, ...]) -> dict[str, frozenset[AttachedResource]]:  # type: ignore[override]
        after = super()._changed_resources(attach)
        if any(self._resource in held for held in after.values()):
            self.fail_operation = operation_failed(f"Odd ({self._resource.id})" if self._named else "Odd")
        return after


async def test_no_pod_gets_an_address_that_the_kernel_still_has_as_public() -> None:
    """What it sends to the internet would not be translated, and Azure has no public address for it any more."""
    async with node(policy=Policy(size=1)).running() as one:
        web = await started(one, "web", public_ip=ADDRESS.id)
        await one.until(lambda: web in one.datapath.tables[-1].public)
        one.datapath.refuses_node = DatapathError("cannot apply nftables table azure_cni: busy")
        await ended(one, "web", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(web) == NONE)
        await asyncio.sleep(2 * COOLING_S)
        show(one, "next", ip="")
        with pytest.raises(NoAddress):
            await one.add("next")
        one.datapath.refuses_node = None
        await one.until(lambda: one.counts.free == 1, within_s=600.0)
        assert web not in one.datapath.tables[-1].public
        assert (await one.add("next")).addresses[0] == web
