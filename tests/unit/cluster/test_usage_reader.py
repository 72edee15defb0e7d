"""When Azure is asked how full a VNet is: as seldom as does no harm, and sooner when an answer could help a node."""

from __future__ import annotations

import asyncio
import logging

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.usage_reader import AFTER_NEWS_S, USAGE_READ_TIMEOUT_S, WHEN_FULL_S, UsageReader
from azure_cni.errors import AccessDenied, CloudUnreachable, Throttled
from azure_cni.model.nic import MOST_USED, SubnetID, SubnetUsage
from azure_cni.quota.external_usage import HeldBounds, UsageReading
from azure_cni.quota.messages import NOTHING, Explanation
from fakes.clocks import LoopClock
from fakes.cluster import VNET, FakeCluster, FakeVNets

pytestmark = pytest.mark.looptime

EVERY_S = 300.0


class Asked:
    """A VNet of whose use is asked every five minutes."""

    def __init__(self, *, every_s: float = EVERY_S) -> None:
        self.cluster = FakeCluster()
        self.vnets = FakeVNets()
        self.node_index = NodeIndex()
        self.reading = UsageReading()
        self.held: HeldBounds = {}
        self.usage = UsageReader(
            vnets=self.vnets,
            clock=LoopClock(),
            node_index=self.node_index,
            vnet_id=VNET,
            reading=self.reading,
            every_s=every_s,
            held=lambda: self.held,
        )

    def node(self, name: str) -> None:
        """A node of this VNet is seen."""
        self.cluster.node(name, requested=0, number=1, nic=f"{name}-nic")
        self.node_index.see(parse(self.cluster.pools.objects[name]), now_s=0.0)

    async def due_after_s(self, *, exhausted: bool = False) -> float:
        """Seconds from now until it is due."""
        began_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(2 * EVERY_S):
            while not self.usage.is_due(exhausted=exhausted):  # noqa: ASYNC110  # time costs nothing here
                await asyncio.sleep(0.5)
        return asyncio.get_running_loop().time() - began_s


async def test_the_first_look_is_due_at_once_and_the_next_after_the_setting() -> None:
    asked = Asked()
    assert asked.usage.is_due(exhausted=False)
    asked.vnets.others = 7
    assert await asked.usage.read()
    assert asked.reading.used is not None
    assert asked.reading.used[0] == 7
    assert await asked.due_after_s() == pytest.approx(EVERY_S, abs=1)


async def test_no_sum_is_larger_than_what_is_read_back_from_the_status() -> None:
    """It would differ from what the status says in the next round, which would write it once more."""
    asked = Asked()
    asked.usage.take((SubnetUsage(SubnetID("a"), MOST_USED, MOST_USED), SubnetUsage(SubnetID("b"), 7, 9)))
    assert asked.reading.used is not None
    assert asked.reading.used[0] == MOST_USED


@pytest.mark.parametrize(("every_s", "due_s"), [(EVERY_S, WHEN_FULL_S), (20.0, 20.0)])
async def test_it_is_due_sooner_while_there_is_not_enough(every_s: float, due_s: float) -> None:
    asked = Asked(every_s=every_s)
    await asked.usage.read()
    assert await asked.due_after_s(exhausted=True) == pytest.approx(due_s, abs=1)


async def test_what_nodes_held_is_that_of_before_the_question() -> None:
    """A NIC may be written while Azure answers: what the answer counts is not known then."""
    asked = Asked()
    asked.vnets.delay_s = 5.0
    asked.held = {"a": (25, 25)}
    reading = asyncio.create_task(asked.usage.read())
    await asyncio.sleep(1)
    asked.held = {"a": (17, 17)}
    assert asked.reading.before == {}
    await reading
    assert asked.reading.before == {"a": (25, 25)}
    asked.usage.take((SubnetUsage(SubnetID("a"), 7, 9),))
    assert asked.reading.before == {}, "nothing is known of a count that somebody else asked for"


async def test_it_is_due_soon_when_others_use_may_be_none_after_all() -> None:
    """While NICs were written it could not be told from what they were to hold; once they are, it can."""
    asked = Asked()
    asked.held = {"a": (11, 26), "b": (26, 26)}
    await asked.usage.read()
    asked.held = {"a": (17, 26), "b": (26, 26)}
    await asyncio.sleep(AFTER_NEWS_S)
    assert not asked.usage.is_due(exhausted=True, others=True), "hardly less is in doubt"
    asked.held = {"a": (17, 17), "b": (26, 26)}
    assert asked.usage.is_due(exhausted=True, others=True)
    assert not asked.usage.is_due(exhausted=False, others=True), "nobody waits for it"
    assert not asked.usage.is_due(exhausted=True, others=False), "there is nothing to find out"
    await asked.usage.read()
    await asyncio.sleep(AFTER_NEWS_S)
    assert not asked.usage.is_due(exhausted=True, others=True), "this count was sure"


async def test_it_is_due_soonest_when_nodes_have_come_but_not_when_some_have_gone() -> None:
    asked = Asked()
    asked.node("a")
    asked.node("b")
    await asked.usage.read()
    assert asked.reading.nodes == 2
    asked.node_index.forget("b", uid="")
    assert await asked.due_after_s() == pytest.approx(EVERY_S, abs=1)
    await asked.usage.read()
    asked.node("b")
    assert await asked.due_after_s() == pytest.approx(AFTER_NEWS_S, abs=1)


async def test_the_last_answer_stays_good_and_silence_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    asked.vnets.others = 7
    await asked.usage.read()
    before = asked.reading.used
    asked.vnets.fail = CloudUnreachable("cannot read usages: no route to host")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert not await asked.usage.read()
        assert asked.reading.used == before
        asked.vnets.fail = None
        assert await asked.usage.read()
    assert [record.message for record in caplog.records] == [
        "cannot read how full a vnet is",
        "how full a vnet is can be read again",
    ]
    assert "no route to host" in caplog.records[0].__dict__["error"]


async def test_who_waits_for_azure_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = Asked()

    async def never(_: str) -> tuple[SubnetUsage, ...]:
        await asyncio.sleep(3600)
        return ()

    monkeypatch.setattr(asked.vnets, "usages", never)
    began_s = asyncio.get_running_loop().time()
    assert not await asked.usage.read()
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(USAGE_READ_TIMEOUT_S, abs=1)
    assert "no answer within 15 s" in caplog.records[0].__dict__["error"]
    assert asked.reading.silence.reason == "AzureUnreachable"


async def test_why_there_is_no_answer_is_kept_for_the_round_and_its_words_do_not_waver() -> None:
    asked = Asked()
    for wait_s in (17, 29):
        asked.vnets.fail = Throttled(f"cannot read usages of VNet vnet: too many requests; wait {wait_s} s")
        await asked.usage.read()
        assert asked.reading.silence == Explanation(
            "Throttled", "cannot read usages of VNet vnet: too many requests; wait 17 s"
        )
    asked.vnets.fail = AccessDenied("cannot read usages of VNet vnet: denied")
    await asked.usage.read()
    assert asked.reading.silence == Explanation("AccessDenied", "cannot read usages of VNet vnet: denied")
    asked.vnets.fail = None
    await asked.usage.read()
    assert asked.reading.silence == NOTHING
