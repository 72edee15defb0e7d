"""What the events of a waiting pod say: one event for each cause, in words, counted however long it lasts."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.errors import AccessDenied, AzureCniError, NoAddress, Throttled
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from azure_cni.node.state import AddressForecast
from fakes.events import Published
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder, pod_body

pytestmark = pytest.mark.looptime

RETRY_S = 12.0  # about what a kubelet waits before it tries a sandbox again


def reported(node: SimulatedNode, name: str = "p") -> list[Published]:
    """The events on that pod."""
    return [event for event in node.events.published if event.regarding["name"] == name]


async def tried(node: SimulatedNode, name: str = "p", *, times: int = 1) -> int:
    """The kubelet tries, again and again; returns how often in vain."""
    if node.demand.pod("default", name) is None:
        node.demand.observe_pod(pod_body(name))
    for number in range(times):
        try:
            await node.add(name)
        except AzureCniError:
            await asyncio.sleep(RETRY_S)
        else:
            return number
    return times


async def answer(node: SimulatedNode, reason: str, message: str) -> None:
    """The controller grants nothing more than the node has, and says why."""
    fields = {
        "granted": node.status.get("allocated", 0),
        "grantedFor": node.status["requestID"],
        "grantReason": reason,
        "grantMessage": message,
    }
    node.reconciler.pool_seen(await node.pools.patch_status(await node.pools.read(), fields))


async def test_a_node_at_its_limit_is_named_with_its_numbers_once_and_counted_for_minutes():
    async with SimulatedNode(policy=Policy(maximum=16)).running() as node:
        for number in range(16):
            await node.add(f"running-{number}")
        assert await tried(node, times=25) == 25
        (event,) = reported(node)
        assert (event.kind, event.reason, event.count) == ("Warning", "NoAddress", 25)
        assert event.message.startswith("NodeAtLimit: this node holds 16 of at most 16 addresses: 16 assigned")


async def test_a_full_subnet_is_named():
    async with SimulatedNode(nic=FakeNic(room=0)).running() as node:
        await node.until(lambda: node.state.forecast.reason == "SubnetFull")
        assert await tried(node, times=20) == 20
        assert [event.message.split(":")[0] for event in reported(node)] == ["SubnetFull"]


async def test_throttling_is_named_with_the_time_of_the_next_attempt():
    node = SimulatedNode()
    node.nic.fail_next = Throttled("cannot change the NIC: too many requests; Azure asks to wait", retry_after_s=300.0)
    async with node.running():
        await node.until(lambda: node.state.forecast.reason == "Throttled")
        assert await tried(node, times=20) == 20
        (event,) = reported(node)
        assert event.message.startswith("Throttled: this node cannot get more addresses now; tried again at ")
        assert "tried again at 2027-01-15T08:05:0" in event.message


async def test_a_nic_that_is_being_updated_is_named():
    nic = FakeNic()
    nic.hold()
    async with SimulatedNode(nic=nic).running() as first:
        await first.until(lambda: nic.writes == 1)
    async with SimulatedNode(before=first).running() as node:
        await node.until(lambda: node.state.forecast.reason == "NicUpdating")
        assert await tried(node, times=10) == 10
        (event,) = reported(node)
        assert event.message.startswith("NicUpdating: Azure is still working on an earlier change of the NIC")
        assert event.count == 10


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("QuotaExceeded", "16000 of 16000 addresses of this VNet are granted; raise spec.limit of vnetquota v"),
        ("WriteBudget", "the cluster writes NICs 100 times a minute at most; this node's turn comes in about 40 s"),
        ("Throttled", "Azure has asked to wait until 2026-01-01T00:05:00Z"),
    ],
)
async def test_what_the_controller_says_reaches_the_pod_word_for_word(reason: str, message: str):
    async with SimulatedNode(grants=ControllerGrants()).running() as node:
        await node.until(lambda: node.status.get("requestID", 0) > 0)
        await answer(node, reason, message)
        await node.until(lambda: node.state.forecast.reason == reason)
        assert await tried(node, times=25) == 25
        (event,) = reported(node)
        assert (event.message, event.count) == (f"{reason}: {message}", 25)


async def test_a_controller_that_does_not_answer_is_named():
    async with SimulatedNode(grants=ControllerGrants()).running() as node:
        await node.until(lambda: node.status.get("requestID", 0) > 0)
        assert await tried(node, times=3) == 3
        (event,) = reported(node)
        assert event.message.startswith("AwaitingGrant: ")
        assert "controller" in event.message


async def test_each_cause_in_turn_is_reported_and_the_pod_starts_in_the_end():
    denied = AccessDenied("cannot change the NIC: Microsoft.Network/networkInterfaces/write is missing", action="write")
    async with SimulatedNode(grants=ControllerGrants()).running() as node:
        await node.until(lambda: node.status.get("requestID", 0) > 0)
        for reason in ("QuotaExceeded", "WriteBudget", "QuotaExceeded"):
            await answer(node, reason, f"because of {reason}")
            await node.until(lambda reason=reason: node.state.forecast.reason == reason)
            await tried(node, times=2)
        node.nic.fail_next = denied
        fields = {"granted": 16, "grantedFor": node.status["requestID"], "grantReason": "", "grantMessage": ""}
        node.reconciler.pool_seen(await node.pools.patch_status(await node.pools.read(), fields))
        await node.until(lambda: node.state.forecast.reason == "AccessDenied")
        await tried(node)
        assert [(event.cause, event.count) for event in reported(node)][:3] == [
            ("QuotaExceeded", 4),
            ("WriteBudget", 2),
            ("AccessDenied", 1),
        ]


async def test_a_pod_that_no_watch_has_shown_is_reported_too():
    """The runtime says whose sandbox it is; while the watch is broken that must do."""
    async with SimulatedNode(nic=FakeNic(room=0)).running() as node:
        await node.until(lambda: node.state.forecast.reason == "SubnetFull")
        with pytest.raises(NoAddress):
            await node.sandboxes.add(holder("unseen"))
        (event,) = reported(node, "unseen")
        assert event.regarding == {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "default",
            "name": "unseen",
            "uid": "uid-unseen",
        }


async def test_no_pods_event_says_that_it_has_no_address_because_addresses_are_free():
    node = SimulatedNode()
    node.state.publish_forecast(
        AddressForecast(available_soon=True, reason="AddressesFree", message="1 address is free")
    )
    assert await tried(node) == 1
    (event,) = reported(node)
    assert event.message.startswith("AddressesTaken: what became free went to other pods")


async def test_a_tenant_does_not_read_what_azure_says() -> None:
    inside = "/subscriptions/0000/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/nsg-secret"
    node = SimulatedNode()
    node.nic.fail_next = AccessDenied(f"cannot change the NIC: client 4711 may not join {inside}", action="join")
    async with node.running():
        await node.until(lambda: node.state.forecast.reason == "AccessDenied")
        node.demand.observe_pod(pod_body("p"))
        with pytest.raises(NoAddress) as caught:
            await node.add("p")
        (event,) = reported(node)
        for words in (str(caught.value), event.message):
            assert "secret" not in words
            assert "4711" not in words
            assert words.endswith("to see why: kubectl describe nodeippool vm1")
        assert event.message.startswith("AccessDenied: ")
        assert caught.value.cause == "AccessDenied"
        assert any(inside in condition["message"] for condition in node.status["conditions"])
