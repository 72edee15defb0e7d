"""The audit trail of a node: noted at once, written a moment later, bounded, and whole again after each hole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.audit_records import AuditRecord
from azure_cni.node import audit as module
from azure_cni.node.audit import AuditTrail
from fakes.audit_store import FakeAuditStore
from fakes.clocks import LoopClock, ManualClock
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def trailed(
    store: FakeAuditStore, *, before: SimulatedNode | None = None, rebooted: bool = False
) -> AsyncIterator[tuple[SimulatedNode, AuditTrail]]:
    """A node that keeps a trail in that store."""
    trail = AuditTrail(store, clock=LoopClock(), node="vm1")
    node = SimulatedNode(before=before, rebooted=rebooted, audit=trail)
    task = asyncio.create_task(trail.run())
    async with node.running():
        await node.until(lambda: node.counts.free > 0)
        yield node, trail
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def told(store: FakeAuditStore) -> list[tuple[str, str]]:
    return [(one.event, one.pod) for one in store.records if one.event != "nicWritten"]


async def test_assignments_and_returns_are_written_in_their_order():
    store = FakeAuditStore()
    async with trailed(store) as (node, _):
        wiring = await node.add("web")
        await node.add("other")
        await node.delete("web")
    assert told(store) == [("started", ""), ("assigned", "web"), ("assigned", "other"), ("returned", "web")]
    first = store.records[1] if store.records[1].pod else next(one for one in store.records if one.pod)
    assert (first.address, first.namespace, first.uid, first.node) == (
        *(str(wiring.addresses[0]), "default"),
        *("uid-web", "vm1"),
    )


async def test_every_write_of_the_nic_is_there_with_its_reason_and_result():
    store = FakeAuditStore()
    async with trailed(store):
        pass
    (write,) = [one for one in store.records if one.event == "nicWritten"]
    assert (write.added, write.result, write.reason) == (16, "Succeeded", "keep addresses ready")
    assert write.etag


async def test_a_disk_that_was_made_from_another_nodes_has_no_writes_of_ours():
    store = FakeAuditStore()
    store.records.append(AuditRecord("2026-11-24T12:00:00Z", "nicWritten", "vm7", result="Succeeded"))
    async with trailed(store) as (_, trail):
        report = await trail.writes()
    assert [one.reason for one in report.writes] == ["keep addresses ready"]


async def test_a_disk_that_was_made_from_another_nodes_has_none_of_our_past():
    """The forecast took what pods of that node had for what pods of this one need."""
    store = FakeAuditStore()
    for number in range(40):
        store.records.append(AuditRecord("2026-11-20T12:00:00Z", "assigned", "vm7", f"10.240.7.{number}"))
    async with trailed(store) as (node, trail):
        await node.add("web")
        report = await trail.usage()
    assert {hour.peak for hour in report.hours} <= {0, 1}
    assert sum(hour.started for hour in report.hours) == 1


async def test_a_repeated_add_and_a_refused_one_leave_no_record_of_their_own():
    store = FakeAuditStore()
    async with trailed(store) as (node, _):
        await node.add("web")
        await node.add("web")
    assert told(store) == [("started", ""), ("assigned", "web")]


async def test_an_engine_may_say_later_what_its_container_is_called():
    """Docker's endpoints: the trail knows the name from then on, also in the next file and of the next process."""
    store = FakeAuditStore()
    bare = Holder(Sandbox("net1", "ep1", "eth"), "/run/docker/netns/1")
    async with trailed(store) as (node, trail):
        address = (await node.sandboxes.add(bare)).addresses[0]
        for names in ({}, {"ep1": ""}, {"ep2": "other"}, {"ep1": "web"}, {"ep1": "web"}):
            trail.named(names)
        report = await trail.find(address)
        assert [(one.container, one.pod, one.end) for one in report.tenures] == [("ep1", "web", "")]
        await node.sandboxes.delete(bare.sandbox)
        report = await trail.find(address)
        assert [(one.pod, bool(one.end)) for one in report.tenures] == [("web", True)]
        trail.named({"ep1": "web"})
    assert told(store) == [("started", ""), ("assigned", ""), ("held", "web"), ("returned", "")]


async def test_an_engine_has_no_say_in_what_a_pod_is_called():
    """On a node of a cluster that serves Docker, too: whoever answers at Docker's socket may name any ID."""
    store = FakeAuditStore()
    async with trailed(store) as (node, trail):
        await node.add("web")
        trail.named({holder("web").sandbox.container_id: "another"})
        (address,) = (slot.address for slot in node.stored.ledger.slots if slot.holder is not None)
        assert [one.pod for one in (await trail.find(address)).tenures] == ["web"]
    assert told(store) == [("started", ""), ("assigned", "web")]


async def test_the_next_agent_begins_with_what_is_held_and_a_reboot_with_nothing():
    store = FakeAuditStore()
    async with trailed(store) as (first, _):
        await first.add("web")
    async with trailed(store, before=first) as (second, trail):
        address = second.stored.ledger.slots[0].address
        await second.until(lambda: told(store)[-1:] == [("held", "web")])
        report = await trail.find(address)
        assert [(one.pod, one.end) for one in report.tenures] == [("web", "")]
    async with trailed(store, before=second, rebooted=True) as (third, trail):
        await third.until(lambda: told(store)[-1:] == [("started", "")])
        report = await trail.find(address)
    (one,) = report.tenures
    assert one.end
    assert one.end_not_before  # nobody saw when
    assert [hole.kind for hole in report.holes] == ["started"] * 3


@pytest.mark.parametrize(
    ("booted_s", "begins"),
    [(3600.0, "2027-01-15T08:59:30Z"), (20.0, "2027-01-15T08:58:30Z"), (0.0, "2027-01-15T08:58:30Z")],
)
async def test_after_a_boot_the_last_minute_before_it_is_part_of_the_hole(booted_s: float, begins: str):
    """A node that loses power keeps the file's time, and not all of what was written by then."""
    store, clock = FakeAuditStore(), ManualClock(now_s=booted_s)
    clock.utc_ahead_s = 3600.0 - booted_s  # it is 09:00
    store.until = "2027-01-15T08:59:30Z"
    task = asyncio.create_task(AuditTrail(store, clock=clock, node="vm1").run())
    await asyncio.sleep(5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(one.event, one.not_before) for one in store.records] == [("started", begins)]


async def test_an_answer_has_what_was_noted_a_moment_ago():
    async with trailed(FakeAuditStore()) as (node, trail):
        (address,) = (await node.add("web")).addresses
        assert [one.pod for one in (await trail.find(address)).tenures] == ["web"]


async def test_what_a_full_disk_took_no_room_for_is_written_later_and_in_order():
    store = FakeAuditStore()
    async with trailed(store) as (node, _):
        await node.until(lambda: bool(store.records))
        store.full = True
        await node.add("web")
        await asyncio.sleep(30)
        await node.delete("web")
        store.full = False
        await node.until(lambda: told(store)[-1:] == [("returned", "web")])
    assert told(store) == [("started", ""), ("assigned", "web"), ("returned", "web")]


async def test_what_is_too_much_is_a_gap_with_all_that_is_held_after_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    store = FakeAuditStore()
    async with trailed(store) as (node, trail):
        await node.until(lambda: bool(store.records))
        await node.add("kept")
        await node.until(lambda: told(store)[-1:] == [("assigned", "kept")])
        store.full = True
        addresses = [(await node.add(name)).addresses[0] for name in ("a", "b", "c", "d")]
        await node.delete("a")
        await asyncio.sleep(60)
        store.full = False
        await node.until(lambda: [event for event, _ in told(store)[-1:]] == ["held"])
        gap = next(one for one in store.records if one.event == "gap")
        assert gap.lost == 5
        assert {pod for event, pod in told(store) if event == "held"} == {"kept", "b", "c", "d"}
        assert (await trail.find(addresses[0])).tenures == []
        assert [hole.lost for hole in (await trail.find(addresses[0])).holes if hole.kind == "gap"] == [5]


async def test_the_head_of_a_new_file_is_what_was_held_before_the_batch():
    store = FakeAuditStore()
    async with trailed(store) as (node, _):
        await node.add("web")
        await node.until(lambda: told(store)[-1:] == [("assigned", "web")])
        await node.add("other")
        await node.until(lambda: told(store)[-1:] == [("assigned", "other")])
    assert [[one.pod for one in head] for head in store.heads][-1] == ["web"]


async def test_while_nothing_happens_it_is_marked_as_complete():
    store = FakeAuditStore()
    async with trailed(store):
        await asyncio.sleep(600)
    assert store.alive >= 9


class Slow(FakeAuditStore):
    """A disk that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def append(self, records: Sequence[AuditRecord], *, held: Sequence[AuditRecord], until: str) -> None:
        self.answers.wait(10)
        super().append(records, held=held, until=until)


async def test_what_was_noted_while_the_disk_was_slow_is_not_said_to_be_written():
    """A killed agent would lose it: the hole must begin before it."""
    store = Slow()
    async with trailed(store) as (node, _):
        await asyncio.sleep(60)
        begun = node.clock.utc()
        await node.add("late")
        store.answers.set()
        await node.until(lambda: bool(store.records))
        assert ("assigned", "late") not in told(store)
        assert store.until < begun


class Failing(Slow):
    """Its disk is full until it has refused the write that it is at."""

    def append(self, records: Sequence[AuditRecord], *, held: Sequence[AuditRecord], until: str) -> None:
        if not self.answers.is_set():
            self.answers.wait(0.3)
            self.answers.set()
            raise AzureCniError("cannot write the audit trail: no space left on device")
        super().append(records, held=held, until=until)


async def test_an_agent_that_stops_while_a_write_fails_writes_it_again():
    """Else its last mark would say that nothing is missing."""
    store = Failing()
    trail = AuditTrail(store, clock=LoopClock(), node="vm1")
    task = asyncio.create_task(trail.run())
    await asyncio.sleep(module.BATCH_S + 0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [one.event for one in store.records] == ["started"]


async def test_no_pod_waits_for_the_disk():
    store = Slow()
    async with trailed(store) as (node, _):
        for name in ("a", "b", "c"):
            await node.add(name)
            await node.delete(name)
        assert store.records == []
        store.answers.set()
    assert told(store)[-1:] == [("returned", "c")]
