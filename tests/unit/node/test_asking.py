"""The node's side of the grant protocol: when the number rises, and what a request must go on covering."""

from __future__ import annotations

from dataclasses import replace

from azure_cni.api.nic import NicView
from azure_cni.api.pool import Request, Wants
from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.plan import Unaccounted
from azure_cni.node.asking import Asking
from azure_cni.node.ports import Grant
from fakes.nic import FakeNic

VM = "vm-1"


async def nic(held: int) -> NicView:
    return await FakeNic(ours=[f"10.240.0.{5 + number}" for number in range(held)]).read()


def pool(requested: int, number: int, *, granted: int = 0, vm: str = VM) -> dict:
    return {"status": {"vmID": vm, "requested": requested, "requestID": number, "granted": granted}}


async def begun(held: int = 0, before: dict | None = None) -> Asking:
    asking = Asking()
    asking.begin(before or {"status": {}}, vm_id=VM, nic=await nic(held))
    asking.want(held, on_nic=held, wants=Wants.NOTHING)
    return asking


def seen(asking: Asking, view: NicView, *, releasing: int = 0) -> None:
    """A read of the NIC, with a ledger that had chosen so many of its addresses to leave."""
    ledger = Ledger()
    ledger.apply(ledger.observe(view, now_s=0.0).change)
    chosen = [config.address for config in view.secondaries[:releasing] if config.address]
    ledger.apply(ledger.release(chosen, now_s=0.0))
    asking.observe(view, ledger, now_s=1.0)


def answer(asking: Asking) -> Grant:
    return Grant(count=asking.request.count, request_id=asking.request.number)


async def test_a_fresh_agent_asks_for_what_its_nic_holds_and_goes_on_counting():
    assert (await begun(16)).request == Request(16, 2)
    assert (await begun(16, before=pool(16, 7))).request == Request(16, 8)


async def test_another_machine_of_that_name_starts_afresh_but_counts_on():
    assert (await begun(0, before=pool(32, 7, vm="vm-0"))).request == Request(0, 8)


async def test_the_number_rises_with_each_change_and_only_then():
    asking = await begun(16)
    assert asking.want(32, on_nic=16, wants=Wants.GROW)
    first = asking.request
    assert not asking.want(32, on_nic=16, wants=Wants.GROW)
    assert asking.request == first
    assert asking.want(48, on_nic=16, wants=Wants.GROW)
    assert asking.request == Request(48, first.number + 1)


async def test_an_answer_allows_one_write_and_another_write_needs_another_number():
    asking = await begun(16)
    asking.want(32, on_nic=16, wants=Wants.GROW)
    assert not asking.allows(Grant(count=32, request_id=asking.request.number - 1))
    used = answer(asking)
    assert asking.allows(used)
    asking.write_begins(await nic(16), add=8)
    assert not asking.allows(used)
    seen(asking, replace(await nic(24), etag="another"))
    assert asking.want(32, on_nic=24, wants=Wants.GROW)
    assert not asking.allows(used)
    assert asking.allows(answer(asking))


async def test_a_permit_is_for_what_it_was_asked_for():
    asking = await begun(16)
    asking.want(32, on_nic=16, wants=Wants.GROW)
    used = answer(asking)
    asking.want(32, on_nic=32, wants=Wants.NOTHING)
    asking.want(32, on_nic=32, wants=Wants.RELEASE)
    assert not asking.allows(used)
    assert asking.request.number == used.request_id + 1


async def test_wanting_nothing_any_more_is_told_without_a_new_number():
    asking = await begun(16)
    asking.want(16, on_nic=16, wants=Wants.RELEASE)
    number = asking.request.number
    assert asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request.number == number
    assert not asking.allows(answer(asking))


async def test_a_request_never_falls_below_what_an_unfinished_write_could_leave():
    asking, before = await begun(16), await nic(16)
    asking.want(32, on_nic=16, wants=Wants.GROW)
    asking.write_begins(before, add=16)
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request.count == 32
    seen(asking, before)
    seen(asking, replace(before, etag="another", settled=False))
    assert asking.in_flight == 32
    seen(asking, replace(before, etag="another"))
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request.count == 16


async def test_a_write_of_the_agent_before_is_covered_until_the_nic_changes():
    asking = Asking()
    before = await nic(16)
    asking.begin(pool(48, 7, granted=32), vm_id=VM, nic=before)
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request == Request(32, 9)
    seen(asking, replace(before, etag="another"))
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request == Request(16, 10)


async def test_what_azure_refused_the_next_settled_read_accounts_for():
    asking, before = await begun(16), await nic(16)
    asking.write_begins(before, add=16)
    asking.write_answered()
    assert asking.in_flight == 32
    seen(asking, replace(before, settled=False))
    assert asking.in_flight == 32
    seen(asking, before)
    assert asking.unaccounted is None


async def test_an_answer_to_one_write_says_nothing_of_the_write_before_it():
    asking, before = await begun(16), await nic(16)
    asking.write_begins(before, add=16)  # no answer
    asking.write_begins(before, add=0)
    assert asking.in_flight == 32
    asking.write_answered()
    seen(asking, before)
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request.count == 32
    seen(asking, replace(before, etag="another"))
    assert asking.unaccounted is None


async def test_what_the_agent_before_had_chosen_to_leave_may_leave_until_the_nic_changes():
    asking, before = Asking(), await nic(16)
    seen(asking, before, releasing=4)
    assert asking.unaccounted == Unaccounted(16, before.etag)
    seen(asking, before, releasing=4)
    assert asking.unaccounted is not None
    seen(asking, replace(before, etag="another"), releasing=4)
    assert asking.unaccounted is None


async def test_who_begins_again_forgets_no_write():
    asking, before = await begun(16), await nic(16)
    asking.write_begins(before, add=16)
    asking.forget()
    asking.begin(pool(16, 50), vm_id=VM, nic=before)
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request == Request(32, 52)


async def test_a_later_request_of_another_agent_makes_ours_void():
    asking = await begun(16, before=pool(16, 7))
    assert not asking.overtaken(pool(16, 7))
    assert not asking.overtaken(pool(asking.request.count, asking.request.number))
    assert asking.overtaken(pool(48, asking.request.number))
    asking.forget()
    assert not asking.begun


async def test_numbers_do_not_come_back_with_a_new_pool_of_that_name():
    first, second = ({"metadata": {"name": "vm1", "uid": uid}} for uid in ("uid-1", "uid-2"))
    lives = [(await begun(16, before=first)).request, (await begun(16, before=second)).request]
    assert lives[0].count == lives[1].count == 16
    assert abs(lives[0].number - lives[1].number) >= 1 << 20
    assert max(request.number for request in lives) < 1 << 53  # what JSON numbers are good for
    again = {**first, "status": {"vmID": VM, "requested": 16, "requestID": lives[0].number, "granted": 0}}
    assert (await begun(16, before=again)).request.number == lives[0].number + 1


async def test_who_begins_anew_goes_on_covering_a_write_of_its_own():
    asking, before = await begun(16), await nic(16)
    asking.want(32, on_nic=16, wants=Wants.GROW)
    asking.write_begins(before, add=16)
    asking.forget()
    asking.begin({"metadata": {"uid": "another"}}, vm_id=VM, nic=before)
    asking.want(16, on_nic=16, wants=Wants.NOTHING)
    assert asking.request.count == 32
