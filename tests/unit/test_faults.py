"""The last guard: what nobody foresaw fails one activity, is logged once, counted each time, and ends nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest

from azure_cni.api.nic_operation import Identify
from azure_cni.errors import InternalFault, LedgerError, NoAddress
from azure_cni.faults import MOST_KINDS, Faults
from azure_cni.ipam.ledger import Change, Ledger
from azure_cni.model.identity import IdentityClaim, NodeIdentity
from fakes.delegation import post_of
from fakes.machines import FakeMachines, identity_of
from fakes.simulated_node import SimulatedNode, pod_body
from unit.cluster.worlds import SimulatedCluster


def test_our_own_exceptions_pass_and_any_other_is_named_logged_once_and_counted(caplog: pytest.LogCaptureFixture):
    counted: Counter[str] = Counter()
    faults = Faults(lambda activity: counted.update([activity]))
    with pytest.raises(NoAddress), faults.guard("add"):
        raise NoAddress("none", cause="PoolEmpty")
    for _ in range(3):
        words = r"read of vm1 failed with KeyError: 'etag'; .* report it"
        with pytest.raises(InternalFault, match=words) as caught, faults.guard("read", about="vm1"):
            _ = {}["etag"]
        assert isinstance(caught.value.__cause__, KeyError)
    assert counted == {"read": 3}
    (record,) = caplog.records
    assert record.exc_info
    assert (record.levelno, record.__dict__["activity"]) == (logging.ERROR, "read")


def test_what_the_process_must_not_survive_passes():
    faults = Faults(lambda _: None)
    for kind in (MemoryError, KeyboardInterrupt, asyncio.CancelledError, SystemExit):
        with pytest.raises(kind), faults.guard("read"):
            raise kind
    with pytest.raises(ExceptionGroup), faults.guard("read"):
        raise ExceptionGroup("of several tasks", [KeyError("x"), MemoryError()])


def test_the_log_does_not_grow_without_an_end(caplog: pytest.LogCaptureFixture):
    faults = Faults(lambda _: None)
    for number in range(2 * MOST_KINDS):
        with pytest.raises(InternalFault), faults.guard(f"activity {number}"):
            raise ValueError
    assert len(caplog.records) == MOST_KINDS


def break_once(owner: object, method: str, node: SimulatedNode) -> list[float]:
    """The method of a port raises what nobody foresaw, for 200 seconds; returns when it was called meanwhile."""
    whole, called = getattr(owner, method), []

    async def broken(*args: Any, **options: Any) -> Any:
        if node.clock.boottime_s() < until_s:
            called.append(node.clock.boottime_s())
            raise TypeError("'NoneType' object is not subscriptable")
        return await whole(*args, **options)

    until_s = node.clock.boottime_s() + 200.0
    setattr(owner, method, broken)
    return called


PORTS = [
    ("cloud", "identify"), ("cloud", "vnet"), ("nic", "read"), ("nic", "write"), ("pools", "read"),
    ("pools", "create"), ("pools", "patch_status"), ("pools", "read_node"), ("datapath", "apply_node"),
    ("datapath", "uplink"), ("events", "publish"),
]  # fmt: skip


@pytest.mark.looptime
@pytest.mark.parametrize(("port", "method"), PORTS, ids=[".".join(one) for one in PORTS])
async def test_whichever_port_breaks_the_agent_goes_on_and_is_whole_when_it_does_not(port: str, method: str):
    node = SimulatedNode()
    called = break_once(getattr(node, port), method, node)
    async with node.running():
        if method == "publish":  # something to report
            node.nic.room = 0
        await asyncio.sleep(199)
        if called:
            assert [one for one in node.observer.recorded if one[0] == "internal_error"]
            assert len(called) <= 30
        node.nic.room = None
        await node.until(lambda: node.counts.free == 16, within_s=300)
        assert (await node.add("p")).addresses
        await node.until(lambda: "conditions" in node.status, within_s=150)
        await node.until(lambda: node.condition("Ready")["reason"] == "PodsCanStart", within_s=300)


@pytest.mark.looptime
async def test_a_fault_is_the_reason_of_the_condition_with_words_for_a_person():
    node = SimulatedNode()
    break_once(node.nic, "read", node)
    async with node.running():
        await asyncio.sleep(150)
        ready = node.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "InternalError")
        assert "a fault in azure-cni: please report it with the traceback that its log has" in ready["message"]
        assert "tried again at" in ready["message"]
        assert node.events.reasons.count("InternalError") == 1


@pytest.mark.looptime
async def test_a_write_that_breaks_is_one_of_which_nobody_knows_what_came():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        break_once(node.nic, "write", node)
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.status["lastWrite"]["result"] == "InternalError", within_s=20)
        reads = node.nic.reads
        await node.until(lambda: node.nic.reads > reads, within_s=20)
        assert node.status["requested"] == 32


@pytest.mark.looptime
async def test_a_mistake_between_the_activities_costs_a_pause_and_not_the_agent(monkeypatch: pytest.MonkeyPatch):
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        cooled, broken = Ledger.cooled, True

        def mistaken(self: Ledger, *, now_s: float) -> Change:
            if broken:
                raise ValueError("a mistake")
            return cooled(self, now_s=now_s)

        monkeypatch.setattr(Ledger, "cooled", mistaken)
        await asyncio.sleep(300)
        assert 5 <= node.observer.recorded.count(("internal_error", "pass")) <= 15
        broken = False
        await asyncio.sleep(120)
        assert (await node.add("p")).addresses


@pytest.mark.looptime
async def test_a_ledger_that_is_not_what_its_file_says_is_changed_no_more(monkeypatch: pytest.MonkeyPatch):
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)

        def mistaken(self: Ledger, change: Change) -> None:
            raise KeyError("a mistake")

        monkeypatch.setattr(Ledger, "apply", mistaken)
        with pytest.raises(LedgerError, match="starts again from the file"):
            await node.add("p")
        assert node.stored.damaged.is_set()
        saved = list(node.store.load())
        with pytest.raises(LedgerError):
            await node.add("q")
        assert list(node.store.load()) == saved
        monkeypatch.undo()
    async with SimulatedNode(before=node).running() as second:
        assert second.counts.assigned == 1
        await second.until(lambda: second.state.ready)
        assert (await second.add("p")).addresses[0]


def claim_of(name: str) -> IdentityClaim:
    vm = identity_of(name)
    return IdentityClaim(vm.vm_id, vm.vm_resource_id, macs=(vm.mac,))


@pytest.mark.looptime
async def test_what_breaks_for_one_node_keeps_no_other_from_its_operations():
    class Breaking(FakeMachines):
        async def identify(self, claim: Any) -> NodeIdentity:
            if claim.vm_resource_id.endswith("/bad"):
                raise TypeError("'NoneType' object has no attribute 'lower'")  # what a NIC without a MAC once did
            return await super().identify(claim)

    world = SimulatedCluster()
    for name in ("bad", "good"):
        world.cluster.node(name)
    bad, good = (post_of(world.cluster, name) for name in ("bad", "good"))
    async with world.controller(machines=Breaking("bad", "good")):
        for _ in range(5):
            with pytest.raises(InternalFault, match=r"NIC operation of bad failed with TypeError.*report it"):
                await bad.request(Identify(claim_of("bad")), NodeIdentity, what="x")
            assert await good.request(Identify(claim_of("good")), NodeIdentity, what="x") == identity_of("good")
    assert world.observer.recorded.count(("internal_error", "NIC operation")) == 5
