"""The node's side of the grant protocol: when the number rises, and what a request must go on covering."""

from __future__ import annotations

from dataclasses import replace

from azure_cni.api.node_ip_pool import UNREAD, NodeIPPool, Request, WriteIntent, parse
from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.plan import PendingWrite
from azure_cni.model.nic import NicView
from azure_cni.node.pool.reservation_request import ReservationRequest
from azure_cni.node.ports import Grant
from fakes.nic import FakeNic

VM = "vm-1"


async def nic(held: int) -> NicView:
    return await FakeNic(ours=[f"10.240.0.{5 + number}" for number in range(held)]).read()


def pool(requested: int, number: int, *, granted: int = 0, vm: str = VM) -> NodeIPPool:
    return parse({"status": {"vmID": vm, "requested": requested, "requestID": number, "granted": granted}})


async def started(held: int = 0, before: NodeIPPool = UNREAD) -> ReservationRequest:
    reservation = ReservationRequest()
    reservation.begin(before, vm_id=VM, nic=await nic(held))
    reservation.want(held, on_nic=held, write_intent=WriteIntent.NONE)
    return reservation


def seen(reservation: ReservationRequest, view: NicView, *, releasing: int = 0) -> None:
    """A read of the NIC, with a ledger that had chosen that many of its addresses to leave."""
    ledger = Ledger()
    ledger.apply(ledger.observe(view, now_s=0.0).change)
    chosen = [config.address for config in view.secondaries[:releasing] if config.address]
    ledger.apply(ledger.release(chosen, now_s=0.0))
    reservation.observe(view, ledger, now_s=1.0)


def answer(reservation: ReservationRequest) -> Grant:
    return Grant(count=reservation.request.count, request_id=reservation.request.number)


async def test_a_fresh_agent_asks_for_what_its_nic_holds_and_goes_on_counting():
    assert (await started(16)).request == Request(16, 2)
    assert (await started(16, before=pool(16, 7))).request == Request(16, 8)


async def test_another_machine_of_that_name_starts_afresh_but_counts_on():
    assert (await started(0, before=pool(32, 7, vm="vm-0"))).request == Request(0, 8)


async def test_a_request_covers_addresses_and_not_configurations():
    azure = FakeNic(ours=["10.240.0.5"])
    azure.elsewhere_add("10.240.1.16", name="azure-cni-00000099", size=16)
    view = await azure.read()
    reservation = ReservationRequest()
    reservation.begin(pool(20, 7), vm_id=VM, nic=view)
    assert reservation.pending_write is None
    reservation.want(view.held, on_nic=view.held, write_intent=WriteIntent.NONE)
    assert reservation.request.count == 17
    reservation.write_begins(view, add=4)
    assert reservation.in_flight == 21


async def test_the_number_rises_with_each_change_and_only_then():
    reservation = await started(16)
    assert reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    first = reservation.request
    assert not reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    assert reservation.request == first
    assert reservation.want(48, on_nic=16, write_intent=WriteIntent.GROW)
    assert reservation.request == Request(48, first.number + 1)


async def test_an_answer_allows_one_write_and_another_write_needs_another_number():
    reservation = await started(16)
    reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    assert not reservation.allows(Grant(count=32, request_id=reservation.request.number - 1))
    used = answer(reservation)
    assert reservation.allows(used)
    reservation.write_begins(await nic(16), add=8)
    assert not reservation.allows(used)
    seen(reservation, replace(await nic(24), etag="another"))
    assert reservation.want(32, on_nic=24, write_intent=WriteIntent.GROW)
    assert not reservation.allows(used)
    assert reservation.allows(answer(reservation))


async def test_what_was_granted_for_one_nic_allows_no_write_of_another():
    reservation = await started(16)
    reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    granted = answer(reservation)
    assert reservation.allows(granted)
    reservation.change_nic()
    assert not reservation.allows(granted)
    assert reservation.want(32, on_nic=0, write_intent=WriteIntent.GROW)
    assert reservation.request.number > granted.request_id
    assert not reservation.allows(granted)
    assert reservation.allows(answer(reservation))


async def test_a_write_that_may_still_land_on_the_former_nic_counts_for_that_one():
    reservation = await started(16)
    reservation.want(64, on_nic=16, write_intent=WriteIntent.GROW)
    reservation.write_begins(await nic(16), add=48)
    reservation.change_nic()
    assert reservation.in_flight == 0
    reservation.want(16, on_nic=0, write_intent=WriteIntent.GROW)
    assert reservation.request.count == 16


async def test_a_grant_is_for_what_it_was_asked_for():
    reservation = await started(16)
    reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    used = answer(reservation)
    reservation.want(32, on_nic=32, write_intent=WriteIntent.NONE)
    reservation.want(32, on_nic=32, write_intent=WriteIntent.SHRINK)
    assert not reservation.allows(used)
    assert reservation.request.number == used.request_id + 1


async def test_wanting_nothing_any_more_is_written_without_a_new_number():
    reservation = await started(16)
    reservation.want(16, on_nic=16, write_intent=WriteIntent.SHRINK)
    number = reservation.request.number
    assert reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request.number == number
    assert not reservation.allows(answer(reservation))


async def test_a_request_never_falls_below_what_an_unfinished_write_could_leave():
    reservation, before = await started(16), await nic(16)
    reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    reservation.write_begins(before, add=16)
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request.count == 32
    seen(reservation, before)
    seen(reservation, replace(before, etag="another", settled=False))
    assert reservation.in_flight == 32
    seen(reservation, replace(before, etag="another"))
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request.count == 16


async def test_a_write_of_the_agent_before_is_covered_until_the_nic_changes():
    reservation = ReservationRequest()
    before = await nic(16)
    reservation.begin(pool(48, 7, granted=32), vm_id=VM, nic=before)
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request == Request(32, 9)
    seen(reservation, replace(before, etag="another"))
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request == Request(16, 10)


async def test_what_azure_refused_the_next_settled_read_accounts_for():
    reservation, before = await started(16), await nic(16)
    reservation.write_begins(before, add=16)
    reservation.write_answered()
    assert reservation.in_flight == 32
    seen(reservation, replace(before, settled=False))
    assert reservation.in_flight == 32
    seen(reservation, before)
    assert reservation.pending_write is None


async def test_an_answer_to_one_write_says_nothing_of_the_write_before_it():
    reservation, before = await started(16), await nic(16)
    reservation.write_begins(before, add=16)  # no answer
    reservation.write_begins(before, add=0)
    assert reservation.in_flight == 32
    reservation.write_answered()
    seen(reservation, before)
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request.count == 32
    seen(reservation, replace(before, etag="another"))
    assert reservation.pending_write is None


async def test_what_the_agent_before_had_chosen_to_leave_may_leave_until_the_nic_changes():
    reservation, before = ReservationRequest(), await nic(16)
    seen(reservation, before, releasing=4)
    assert reservation.pending_write == PendingWrite(16, before.etag)
    seen(reservation, before, releasing=4)
    assert reservation.pending_write is not None
    seen(reservation, replace(before, etag="another"), releasing=4)
    assert reservation.pending_write is None


async def test_who_begins_again_forgets_no_write():
    reservation, before = await started(16), await nic(16)
    reservation.write_begins(before, add=16)
    reservation.forget()
    reservation.begin(pool(16, 50), vm_id=VM, nic=before)
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request == Request(32, 52)


async def test_a_later_request_of_another_agent_makes_ours_void():
    reservation = await started(16, before=pool(16, 7))
    assert not reservation.is_superseded_by(pool(16, 7))
    assert not reservation.is_superseded_by(pool(reservation.request.count, reservation.request.number))
    assert reservation.is_superseded_by(pool(48, reservation.request.number))
    reservation.forget()
    assert not reservation.has_request


async def test_numbers_do_not_come_back_with_a_new_pool_of_that_name():
    first, second = ({"metadata": {"name": "vm1", "uid": uid}} for uid in ("uid-1", "uid-2"))
    lives = [(await started(16, before=parse(body))).request for body in (first, second)]
    assert lives[0].count == lives[1].count == 16
    assert abs(lives[0].number - lives[1].number) >= 1 << 20
    assert max(request.number for request in lives) < 1 << 53  # what JSON numbers are good for
    again = {**first, "status": {"vmID": VM, "requested": 16, "requestID": lives[0].number, "granted": 0}}
    assert (await started(16, before=parse(again))).request.number == lives[0].number + 1


async def test_who_starts_again_goes_on_covering_a_write_of_its_own():
    reservation, before = await started(16), await nic(16)
    reservation.want(32, on_nic=16, write_intent=WriteIntent.GROW)
    reservation.write_begins(before, add=16)
    reservation.forget()
    reservation.begin(parse({"metadata": {"uid": "another"}}), vm_id=VM, nic=before)
    reservation.want(16, on_nic=16, write_intent=WriteIntent.NONE)
    assert reservation.request.count == 32
