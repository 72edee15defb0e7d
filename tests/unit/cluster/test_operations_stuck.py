"""Operations that can never be answered, and nodes that send them without end: others are served, and it shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.api.nic_operation import Identify, ReadNic, WriteNic
from azure_cni.api.nic_operation_codec import operation_document
from azure_cni.api.operation_result_codec import LONGEST_MESSAGE, result_document
from azure_cni.cluster.node_allowance import OPERATION_PACE, Pace, Started
from azure_cni.cluster.possession import Required
from azure_cni.errors import AccessDenied, CloudUnreachable, KubeDenied, KubeError, KubeInvalid, KubeUnreachable
from azure_cni.faults import Faults
from azure_cni.ipam.limits import BACKOFF_REFUSED_S
from azure_cni.kube.delegated_nic import OperationClient
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import NicView
from fakes.cluster import FakeCluster
from fakes.delegation import executing, post_of
from fakes.machines import FakeMachines
from unit.cluster.delegating_nodes import CLAIM, CLAIM2, VM1

pytestmark = pytest.mark.looptime

HOURS_S = 4 * 3600.0
DOUBLINGS = 9
"""From 2 s to 15 min."""
MOST_TRIES = DOUBLINGS + HOURS_S / (BACKOFF_REFUSED_S / 2)
"""A pause is at least half of its step."""


class Bad:
    """Calls of the API server about the pool vm1 that fail, and how many there were."""

    def __init__(self, cluster: FakeCluster, call: str, error: Exception) -> None:
        self.tries = 0
        self.error: Exception | None = error
        self._method = getattr(cluster.pools, call)
        setattr(cluster.pools, call, self._called)

    def _called(self, name: str, *args: Any, **kwargs: Any) -> Any:
        answers = not args or "nicOperationResult" in args[0].get("status", {})
        if name == "vm1" and answers and self.error is not None:
            self.tries += 1
            raise self.error
        return self._method(name, *args, **kwargs)


def send(cluster: FakeCluster, number: int, what: Any = None) -> None:
    """The agent of vm1 sends an operation, and does not look for the result."""
    cluster.pools.patch("vm1", {"status": {"nicOperation": operation_document(number, what or Identify(CLAIM))}})


async def served(cluster: FakeCluster) -> float:
    """How long another node waits."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
    return loop.time() - began_s


@pytest.mark.parametrize("error", [KubeDenied("forbidden"), KubeInvalid("status.answer: too long")])
async def test_an_answer_that_is_never_taken_is_tried_ever_more_rarely_and_holds_nobody_up(
    cluster: FakeCluster, machines: FakeMachines, caplog: pytest.LogCaptureFixture, error: KubeError
) -> None:
    bad = Bad(cluster, "patch", error)
    etag = (await machines.read(VM1.nic_id)).etag
    async with executing(cluster, machines, required=Required.NEVER) as executor:
        send(cluster, 1, WriteNic(CLAIM, VM1.nic_id, etag, add=1, remove=(), grant_number=1))
        await asyncio.sleep(HOURS_S)
        assert DOUBLINGS < bad.tries <= MOST_TRIES
        assert executor.stuck == 1
        assert await served(cluster) < 1
        bad.error = None
        await asyncio.sleep(BACKOFF_REFUSED_S)
        assert executor.stuck == 0
    answer = cluster.status("vm1")["nicOperationResult"]
    assert str(error) in answer["error"]["message"]
    assert machines.nics["vm1"].writes == 1
    reported = [one for one in caplog.records if one.message == "NIC operation left unanswered"]
    assert len(reported) == bad.tries
    assert reported[-1].__dict__["attempts"] == bad.tries


async def test_for_an_answer_that_is_too_large_an_error_is_written(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    patch = cluster.pools.patch

    def refuse_nics(name: str, body: Any, **options: Any) -> Any:
        if "nic" in (body["status"].get("nicOperationResult") or {}) and body["status"]["nicOperationResult"]["nic"]:
            raise KubeInvalid("cannot patch: etcdserver: request is too large")
        return patch(name, body, **options)

    cluster.pools.patch = refuse_nics  # type: ignore[method-assign]
    async with executing(cluster, machines, required=Required.NEVER):
        with pytest.raises(
            CloudUnreachable, match=r"cannot report the result of NIC operation 1 .*request is too large"
        ):
            await post.request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")


@pytest.mark.parametrize("error", [KubeUnreachable("no answer"), KubeDenied("forbidden"), ValueError("odd")])
async def test_a_pool_that_cannot_be_read_holds_nobody_up(
    cluster: FakeCluster, machines: FakeMachines, error: Exception
) -> None:
    bad = Bad(cluster, "get", error)
    faults: list[str] = []
    async with executing(cluster, machines, required=Required.NEVER, faults=Faults(faults.append)) as executor:
        send(cluster, 1)
        for beat in range(int(HOURS_S / 60)):
            cluster.pools.patch("vm1", {"status": {"assigned": beat}})  # what the watch shows is no reason to try again
            await asyncio.sleep(60)
        assert bad.tries <= DOUBLINGS + HOURS_S / 60
        assert len(faults) == (bad.tries if isinstance(error, ValueError) else 0)
        assert executor.stuck == 1
        assert await served(cluster) < 1
        bad.error = None
        send(cluster, 2)  # a newer operation waits for no pause of the one before
        await asyncio.sleep(10)
        assert cluster.status("vm1")["nicOperationResult"]["id"] == 2
        assert executor.stuck == 0


def test_words_in_an_answer_have_an_end() -> None:
    long = "x" * 1_000_000
    error = result_document(1, AccessDenied(long, action=long, scope=long, azure_code=long))["error"]
    assert sum(len(value) for value in error.values() if isinstance(value, str)) < 2 * LONGEST_MESSAGE


# The pace.


async def test_who_sends_operations_without_end_is_served_a_dozen_times_and_then_twelve_times_a_minute(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    async with executing(cluster, machines, required=Required.NEVER, pace=OPERATION_PACE):
        for number in range(1, 1001):
            send(cluster, number)
            await asyncio.sleep(0.6018)  # no operation comes at the very moment at which the one before is started
    assert machines.asked <= 12 + 600 / 5 + 1
    assert machines.asked >= 12 + 600 / 5 - 6


def begins(pace: Pace, wishes_s: list[float]) -> list[float]:
    """When operations are started that come at these times."""
    started, moments = Started(), []
    for wish_s in wishes_s:
        at_s = max(wish_s, started.next_s(pace))
        started = started.again(pace, now_s=at_s)
        moments.append(at_s)
    return moments


@pytest.mark.parametrize(
    ("wishes_s", "begun_s"),
    [
        ([0.0] * 5, [0, 1, 2, 5, 10]),
        ([0.0, 0.0, 0.0, 20.0, 20.0, 20.0, 20.0], [0, 1, 2, 20, 21, 22, 25]),
        ([0.0, 30.0, 60.0], [0, 30, 60]),
    ],
)
def test_a_node_has_a_burst_and_then_a_share(wishes_s: list[float], begun_s: list[float]) -> None:
    assert begins(Pace(spacing_s=1.0, burst=3, refill_s=5.0), wishes_s)[: len(begun_s)] == pytest.approx(begun_s)
