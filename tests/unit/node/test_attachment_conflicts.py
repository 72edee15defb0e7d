"""Two pools that are fine each by itself and not together: who asks for both keeps nobody else waiting.

Azure takes no ipConfiguration into two pools whose rules have the same protocol and backend port
(RulesUseSameBackendPortProtocolAndIPConfig). It refuses the whole NIC, and names the rules, not always the pools.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

import pytest

from azure_cni.errors import RequestRefused
from azure_cni.ipam.attachment_blame import Narrowing, narrowed, suspects
from azure_cni.ipam.attachment_plan import Suspect
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import AttachmentChange, ConfigName
from fakes.nic import FakeNic
from unit.ipam.views import view
from unit.node.attaching import ADDRESS, NONE, WEB, WEB2, ended, node, show, started

pytestmark = pytest.mark.looptime

BOTH = f"{WEB.id},{WEB2.id}"
SOON_S = 120.0


class Conflicting(FakeNic):
    """A NIC on which nothing may be in both pools."""

    def __init__(self, *, named: bool) -> None:
        super().__init__()
        self.named = named

    def _changed_resources(self, attach: Sequence[AttachmentChange]) -> dict[str, frozenset[AttachedResource]]:
        after = super()._changed_resources(attach)
        if any(held >= {WEB, WEB2} for held in after.values()):
            rules = f"of {WEB.id} and {WEB2.id}" if self.named else "r1 and r2"
            raise RequestRefused(
                f"cannot write NIC vm1-nic: rules {rules} use the same protocol Tcp and backend port 80",
                azure_code="RulesUseSameBackendPortProtocolAndIPConfig",
            )
        return after


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("conflicting", [1, 3])
@pytest.mark.parametrize("after_s", [0.0, 60.0, 1800.0])
async def test_others_get_either_pool_soon(*, named: bool, conflicting: int, after_s: float) -> None:
    async with node(nic=Conflicting(named=named)).running() as one:
        for number in range(conflicting):
            await started(one, f"both-{number}", pools=BOTH)
        await asyncio.sleep(after_s)
        for pool in (WEB, WEB2):
            address = await started(one, f"one-{pool.name[-4:]}".replace("/", "-"), pools=pool.id)
            has = functools.partial(lambda address, pool: one.nic.attached_to(address) == {pool}, address, pool)
            await one.until(has, within_s=SOON_S)


async def test_the_pod_that_asks_for_both_has_one_and_costs_few_writes() -> None:
    async with node(nic=Conflicting(named=False)).running() as one:
        both = await started(one, "both", pools=BOTH)
        await asyncio.sleep(3600.0)
        assert one.nic.attached_to(both) == {WEB}
        assert one.nic.tries < 20


async def test_the_next_pod_with_its_address_is_another_matter() -> None:
    async with node(nic=Conflicting(named=False)).running() as one:
        address = await started(one, "both", pools=BOTH)
        await asyncio.sleep(600.0)
        await ended(one, "both", pools=BOTH)
        later = [await started(one, f"later-{number}", pools=WEB2.id) for number in range(4)]
        await asyncio.sleep(600.0)
        assert [one.nic.attached_to(each) for each in later] == [{WEB2}] * 4
        assert one.nic.attached_to(address) in ({WEB2}, NONE)


async def test_once_it_asks_for_one_it_has_that() -> None:
    async with node(nic=Conflicting(named=False)).running() as one:
        address = await started(one, "both", pools=BOTH)
        await asyncio.sleep(600.0)
        show(one, "both", pools=WEB2.id)
        await one.until(lambda: one.nic.attached_to(address) == {WEB2}, within_s=1800.0)


def change(config: str, *add: AttachedResource) -> AttachmentChange:
    return AttachmentChange(ConfigName(config), frozenset(add), NONE)


REFUSAL = RequestRefused("cannot write NIC vm1-nic: no", azure_code="SomethingElse")
MISSING = RequestRefused(f"cannot write NIC vm1-nic: {WEB.id} not found", azure_code="InvalidResourceReference")


@pytest.mark.parametrize(
    ("error", "blamed", "refused", "held"),
    [
        (MISSING, {WEB}, [change("a", WEB, WEB2), change("b", WEB)], {Suspect(WEB)}),
        (REFUSAL, {WEB, WEB2}, [change("a", WEB, WEB2), change("b", WEB)], set()),
        (REFUSAL, set(), [change("a", WEB, ADDRESS)], set()),
        (REFUSAL, {WEB}, [change("a", WEB), change("b", WEB)], {Suspect(WEB)}),
    ],
)
def test_against_what_a_refusal_is_held(
    error: RequestRefused, blamed: set[AttachedResource], refused: list[AttachmentChange], held: set[Suspect]
) -> None:
    nic = view()
    assert suspects(error, frozenset(blamed), refused, nic) == held


def test_the_narrowest_write_begins_with_what_ends_by_itself() -> None:
    nic = view()
    found = (change("a", WEB, WEB2), change("b", WEB2), change("c", WEB))
    assert narrowed(found, Narrowing.ONE, nic) == (change("a", WEB), change("c", WEB))
    assert narrowed(found, Narrowing.ALL, nic) == found
