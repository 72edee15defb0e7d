"""Who leads: one at a time, another soon after it stopped or fell silent, and nobody by other people's clocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from azure_cni.cluster.election import Election, LeaseTiming
from azure_cni.errors import KubeUnreachable
from fakes.clocks import LoopClock
from fakes.cluster import FakeCluster, FakeLease
from fakes.faults import NO_FAULTS

pytestmark = pytest.mark.looptime


class Candidate:
    """A controller that only says when it works."""

    def __init__(self, cluster: FakeCluster, name: str, *, utc_ahead_s: float = 0.0) -> None:
        self.lease = FakeLease(cluster)
        self.election = Election(self.lease, identity=name, clock=LoopClock(utc_ahead_s=utc_ahead_s), faults=NO_FAULTS)
        self.terms: list[tuple[float, float]] = []
        self.works = False

    async def work(self) -> None:
        began_s = asyncio.get_running_loop().time()
        self.works = True
        try:
            await asyncio.Event().wait()
        finally:
            self.works = False
            self.terms.append((began_s, asyncio.get_running_loop().time()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Candidate]:
        task = asyncio.create_task(self.election.run(self.work))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def spec(cluster: FakeCluster) -> dict[str, Any]:
    return cluster.leases.objects[FakeLease.NAME]["spec"]


async def test_the_first_leads_at_once_and_the_other_waits(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a").running() as a, Candidate(cluster, "b").running() as b:
        await asyncio.sleep(120)
        assert (a.works, b.works) == (True, False)
        assert spec(cluster)["holderIdentity"] == "a"
        assert a.election.leads
        assert not b.election.leads


async def test_one_that_stops_hands_over_at_once(cluster: FakeCluster) -> None:
    async with AsyncExitStack() as stopping:
        await stopping.enter_async_context(Candidate(cluster, "a").running())
        await asyncio.sleep(5)
        async with Candidate(cluster, "b").running() as b:
            await asyncio.sleep(5)
            assert not b.works
            await stopping.aclose()
            await asyncio.sleep(2.1)
            assert b.works


async def test_one_that_is_released_may_be_taken_within_a_retry(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a").running():
        await asyncio.sleep(1)
    assert spec(cluster)["holderIdentity"] == ""
    async with Candidate(cluster, "b").running() as b:
        await asyncio.sleep(0.1)
        assert b.works
        assert spec(cluster)["leaseTransitions"] == 1


async def test_a_silent_holder_is_replaced_after_its_lease_whatever_the_clocks_say(cluster: FakeCluster) -> None:
    cluster.leases.create(FakeLease.NAME, {"spec": {
        "holderIdentity": "gone", "leaseDurationSeconds": 15, "renewTime": "2001-01-01T00:00:00.000000Z",
    }})  # fmt: skip
    async with Candidate(cluster, "b", utc_ahead_s=86_400.0).running() as b:
        await asyncio.sleep(14)
        assert not b.works
        await asyncio.sleep(4)
        assert b.works


async def test_a_holder_that_renews_is_left_alone_though_its_clock_is_far_off(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a", utc_ahead_s=-86_400.0).running() as a:
        await asyncio.sleep(1)
        async with Candidate(cluster, "b", utc_ahead_s=86_400.0).running() as b:
            await asyncio.sleep(300)
            assert (a.works, b.works) == (True, False)


async def test_one_whose_lease_was_taken_stops_and_competes_again(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a").running() as a:
        await asyncio.sleep(1)
        cluster.leases.patch(FakeLease.NAME, {"spec": {"holderIdentity": "thief"}})
        await asyncio.sleep(2.5)
        assert not a.works
        await asyncio.sleep(20)
        assert a.works
        assert len(a.terms) == 1


async def test_one_that_cannot_renew_stops_before_others_may_begin(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a").running() as a, Candidate(cluster, "b").running() as b:
        await asyncio.sleep(5)

        def refuse(what: str) -> None:
            raise KubeUnreachable("made to be silent")

        leader, other = (a, b) if a.works else (b, a)
        leader.lease._cluster = apart = FakeCluster()
        apart.before_call = refuse
        await asyncio.sleep(40)
        assert not leader.works
        assert other.works
        assert leader.terms[0][1] < asyncio.get_running_loop().time() - 40 + 15


@pytest.mark.parametrize("silent_s", [0.0, 3.0, 6.0, 9.9])
async def test_work_ends_well_before_others_may_begin_however_the_api_server_is_silent(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, silent_s: float
) -> None:
    """It refuses for some seconds, and then does not answer at all. Found in review: the last try took its time."""
    a = Candidate(cluster, "a")
    write, renewed_s = a.lease.write, 0.0

    async def fade(*arguments: Any) -> Any:
        nonlocal renewed_s
        now_s = asyncio.get_running_loop().time()
        if now_s < 21:
            renewed_s = now_s
            return await write(*arguments)
        await asyncio.sleep(0 if now_s - renewed_s < silent_s else 1000)
        raise KubeUnreachable("made to be silent")

    monkeypatch.setattr(a.lease, "write", fade)
    async with a.running():
        await asyncio.sleep(60)
        assert a.terms[0][1] - renewed_s <= LeaseTiming().give_up_s


async def test_the_time_of_a_lease_counts_from_when_it_was_asked_for(cluster: FakeCluster) -> None:
    """The answer may be slow, and others count from the write."""
    a = Candidate(cluster, "a")
    asked_s = asyncio.get_running_loop().time()
    cluster.latency_s = 1.0  # to the API server, and as much back

    def refuse(what: str) -> None:
        raise KubeUnreachable("made to be silent")

    async with a.running():
        await asyncio.sleep(4.5)
        assert a.works
        cluster.before_call = refuse
        await asyncio.sleep(60)
    assert a.terms[0][1] - asked_s <= LeaseTiming().give_up_s


async def test_a_lost_answer_to_its_own_renewal_does_not_end_a_term(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a").running() as a:
        await asyncio.sleep(1)
        lost = 0

        def lose(what: str) -> None:
            nonlocal lost
            if what == "lease.write" and lost < 2:
                lost += 1
                raise KubeUnreachable("the answer is lost")

        cluster.after_call = lose
        await asyncio.sleep(30)
        assert a.works
        assert not a.terms
        assert lost == 2


async def test_a_lease_that_somebody_deletes_is_made_again(cluster: FakeCluster) -> None:
    async with Candidate(cluster, "a").running() as a:
        await asyncio.sleep(1)
        cluster.leases.delete(FakeLease.NAME)
        await asyncio.sleep(30)
        assert a.works
        assert spec(cluster)["holderIdentity"] == "a"


async def test_work_that_fails_ends_the_process_and_hands_over(cluster: FakeCluster) -> None:
    async def fail() -> None:
        raise RuntimeError("a fault")

    election = Election(FakeLease(cluster), identity="a", clock=LoopClock(), faults=NO_FAULTS)
    with pytest.raises(ExceptionGroup):
        await election.run(fail)
    assert spec(cluster)["holderIdentity"] == ""
