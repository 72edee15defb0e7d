"""The pool of a node over time: what is on the NIC, what people are told, and what a failing Azure costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import AccessDenied, CloudUnreachable, KubeUnreachable, PreconditionFailed, Throttled
from azure_cni.ipam.sizing import Policy
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime


async def test_a_fresh_node_gets_one_batch_in_one_write():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("allocated") == 16)
        assert node.nic.writes == 1
        assert (node.status["requested"], node.status["granted"]) == (16, 16)
        assert node.status["requestID"] == node.status["grantedFor"]
        assert node.condition("Ready")["status"] == "True"
        assert node.status["primaryIP"] == "10.240.0.4"


@pytest.mark.parametrize(
    ("pods", "allocated"),
    [(1, 16), (8, 16), (9, 32), (24, 32), (25, 48), (60, 80), (300, 250)],
)
async def test_the_pool_grows_to_the_target_in_one_more_write(pods: int, allocated: int):
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        for number in range(pods):
            node.demand.see(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.counts.allocated == allocated)
        assert node.nic.writes == (1 if allocated == 16 else 2)


async def test_addresses_cool_then_free_then_leave_after_the_delay():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        for number in range(30):
            await node.add(f"p{number}")
        await node.until(lambda: node.counts.assigned == 30)
        for number in range(30):
            await node.delete(f"p{number}")
        assert node.counts.cooling == 30
        await node.until(lambda: node.counts.cooling == 0, within_s=140)
        writes = node.nic.writes
        await node.until(lambda: node.counts.allocated == 16, within_s=310)
        assert node.nic.writes == writes + 1
        assert node.counts.free == 16


async def test_a_surplus_that_is_used_again_stays():
    async with SimulatedNode(policy=Policy(batch=16, min_free=8, max_free=24)).running() as node:
        for number in range(40):
            await node.add(f"p{number}")
        for number in range(40):
            await node.delete(f"p{number}")
        await asyncio.sleep(135 + 250)
        for number in range(40):
            await node.add(f"q{number}")
        before = node.counts.allocated
        await asyncio.sleep(200)
        assert node.counts.allocated == before


async def test_the_status_is_written_at_most_once_in_five_seconds_for_a_burst_of_pods():
    async with SimulatedNode(policy=Policy(size=60)).running() as node:
        await node.until(lambda: node.counts.free == 60)
        await asyncio.sleep(10)
        before = len(node.pools.patches)
        for number in range(50):
            await node.add(f"p{number}")
            await asyncio.sleep(0.2)
        await asyncio.sleep(6)
        assert node.status["assigned"] == 50
        assert len(node.pools.patches) - before <= 4


async def test_a_lost_race_for_the_nic_is_won_at_the_next_read():
    node = SimulatedNode()
    node.nic.fail_next = PreconditionFailed("the NIC changed")
    async with node.running():
        await node.until(lambda: node.counts.free == 16, within_s=2)
        assert node.nic.writes == 1


async def test_another_tools_address_is_adopted_and_never_given_back():
    nic = FakeNic(adopted=["10.240.0.200"])
    async with SimulatedNode(nic=nic, policy=Policy(min_free=1, max_free=2, batch=1)).running() as node:
        await node.until(lambda: node.counts.free == 1)
        assert nic.writes == 0
        nic.elsewhere_add("10.240.0.201", name="theirs-a")
        nic.elsewhere_add("10.240.0.202", name="theirs-b")
        await node.until(lambda: node.counts.free == 3, within_s=700)
        await asyncio.sleep(400)
        assert node.counts.free == 3
        assert nic.writes == 0


async def test_an_address_that_vanishes_under_a_pod_is_told_as_drift():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        config = next(slot.config for slot in node.book.ledger.slots if slot.address == made.address)
        node.nic.room = 0  # else the lowest free address, which is this one, comes back at once
        node.nic.elsewhere_remove(config)
        await node.until(lambda: node.condition("Drifted")["status"] == "True", within_s=700)
        assert str(made.address) in node.condition("Drifted")["message"]
        await node.delete("p")
        await node.until(lambda: node.condition("Drifted")["status"] == "False")


async def test_a_primary_address_that_changed_is_the_nodes_from_the_next_read_on():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        assert node.cloud.identified == 1
        node.nic.elsewhere_readdress("10.240.3.9")
        node.cloud.identity = replace(node.cloud.identity, primary_ip=IPv4Address("10.240.3.9"))
        await node.until(lambda: str(node.datapath.tables[-1].primary) == "10.240.3.9", within_s=610)
        assert str(node.board.link.primary) == "10.240.3.9"
        await node.until(lambda: node.status["primaryIP"] == "10.240.3.9", within_s=10)
        await asyncio.sleep(3000)
        assert node.cloud.identified == 2
        assert node.nic.writes == 1


async def test_while_nobody_confirms_another_primary_address_the_node_goes_on_with_its_own():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.cloud.silent = True
        node.nic.elsewhere_readdress("10.240.3.9")
        await node.until(lambda: node.cloud.identified == 2, within_s=610)
        node.nic.elsewhere_add("10.240.3.10")
        await asyncio.sleep(700)
        assert node.counts.allocated == 17
        assert str(node.board.link.primary) == "10.240.0.4"
        assert (await node.add("p")).address


async def test_a_missing_permission_is_named_once_as_condition_and_event():
    node = SimulatedNode()
    denied = AccessDenied("cannot write: Microsoft.Network/networkInterfaces/write is missing", action="write")
    node.nic.fail_next = denied
    async with node.running():
        await node.until(lambda: node.status.get("conditions") is not None and node.nic.reads >= 1)
        await node.until(lambda: "AccessDenied" in node.events.reasons)
        assert node.condition("Ready")["reason"] == "AccessDenied"
        assert "networkInterfaces/write" in node.condition("Ready")["message"]
        await node.until(lambda: node.counts.free == 16)
        await node.until(lambda: node.condition("Ready")["status"] == "True")


async def test_a_full_subnet_gives_what_it_has_to_the_pods_that_wait_and_the_rest_when_there_is_room():
    nic = FakeNic(room=3)
    async with SimulatedNode(nic=nic).running() as node:
        for number in range(6):
            node.demand.see(pod_body(f"p{number}"))
        await node.until(lambda: node.counts.allocated == 3)
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
        assert "SubnetFull" in node.events.reasons
        nic.room = 100
        await node.until(lambda: node.counts.allocated == 16, within_s=180)
        await node.until(lambda: node.condition("SubnetFull")["status"] == "False")


async def test_throttling_is_obeyed_and_told():
    node = SimulatedNode()
    node.nic.fail_next = Throttled("too many requests; come back in 40 s", retry_after_s=40.0)
    async with node.running():
        await node.until(lambda: any(one[0] == "throttled" for one in node.observer.told))
        began = node.clock.boottime_s()
        await node.until(lambda: node.status.get("conditions") is not None)
        await node.until(lambda: node.condition("Throttled")["status"] == "True")
        await node.until(lambda: node.counts.free == 16)
        assert node.clock.boottime_s() - began >= 39
        assert node.nic.writes == 1


async def test_a_failed_operation_is_read_again_before_the_next_write():
    node = SimulatedNode()
    node.nic.fail_operation = operation_failed()
    async with node.running():
        await node.until(lambda: node.counts.free == 16)
        assert len(node.nic.addresses) == 17
        assert node.status["lastWrite"]["result"] in {"OperationFailed", "Succeeded"}


async def test_a_nic_whose_shrinking_failed_at_the_end_is_written_once_more():
    async with SimulatedNode(policy=Policy(size=20)).running() as node:
        await node.until(lambda: node.counts.free == 20)
        node.nic.fail_operation = operation_failed()
        node.pools.edit_spec(size=16)
        node.reconciler.pool_seen(node.pools.pool or {})
        await node.until(lambda: "NicMended" in node.events.reasons, within_s=400)
        assert (node.counts.allocated, node.counts.free) == (16, 16)
        assert not (await node.nic.read()).failed
        writes = node.nic.writes
        await asyncio.sleep(700)
        assert node.nic.writes == writes


async def test_cooling_and_status_go_on_while_azure_takes_its_time():
    nic = FakeNic()
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.counts.free == 16)
        await node.add("a")
        await node.delete("a")
        nic.hold()
        for number in range(20):
            node.demand.see(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.condition("Growing")["reason"] == "NicWriteInFlight", within_s=10)
        await node.until(lambda: node.counts.cooling == 0, within_s=135)
        nic.finish()
        await node.until(lambda: node.counts.allocated == 32)


async def test_imds_silent_is_told_and_tried_until_it_answers():
    node = SimulatedNode()
    node.cloud.fail_next = CloudUnreachable("cannot ask IMDS at 169.254.169.254: no answer within 5 s")
    async with node.running():
        await node.until(lambda: "AzureUnreachable" in node.events.reasons)
        assert "169.254.169.254" in node.condition("Ready")["message"]
        await node.until(lambda: node.counts.free == 16)


async def test_a_silent_api_server_keeps_no_pod_from_starting():
    node = SimulatedNode()
    node.pools.fail_next = KubeUnreachable("cannot read nodeippools/vm1: no answer")
    async with node.running():
        await node.until(lambda: node.counts.free == 16)
        assert (await node.add("p")).address


async def test_nothing_is_written_before_the_pool_has_been_read():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("allocated") == 16)
        first.pools.edit_spec(size=40)
        first.reconciler.pool_seen(first.pools.pool or {})
        await first.until(lambda: first.status["allocated"] == 40)
    writes, number = first.nic.writes, first.status["requestID"]
    second = SimulatedNode(before=first, shrink_delay_s=0)
    second.pools.fail_next = KubeUnreachable("cannot read nodeippools/vm1: no answer")
    async with second.running():
        await second.until(second.reconciler.pool_known.is_set)
        await asyncio.sleep(10)
        assert second.nic.writes == writes
        second.pools.edit_spec(size=44)
        second.reconciler.pool_seen(second.pools.pool or {})
        await second.until(lambda: second.status["allocated"] == 44)
        assert second.status["requestID"] > number


async def test_a_kernel_that_refuses_is_told_as_such_and_costs_azure_no_more_than_the_pool_needs():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.datapath.uplink_mac = "00:00:00:00:00:01"
        node.nic.elsewhere_add("10.240.3.10")
        reads = node.nic.reads
        await node.until(lambda: node.nic.reads > reads, within_s=610)
        reads = node.nic.reads
        for number in range(20):
            node.demand.see(pod_body(f"p{number}"))
        await asyncio.sleep(500)
        assert "cannot find the uplink" in node.condition("Ready")["message"]
        # One growth, and the read that belongs to it.
        assert (node.nic.reads, node.nic.writes, node.counts.allocated) == (reads + 1, 2, 32)
        assert node.counts.free == 16
        assert node.events.reasons.count("DatapathFailed") == 1
        node.datapath.uplink_mac = None
        await node.until(lambda: node.counts.free == 32, within_s=130)


async def test_a_ledger_that_cannot_be_written_is_told_as_such():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.store.broken = True
        for number in range(20):
            node.demand.see(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.nic.writes == 2)
        await asyncio.sleep(60)
        assert node.counts.allocated == 16
        assert node.condition("Ready")["reason"] == "LedgerFailed"
        (event,) = (event for event in node.events.published if event.reason == "LedgerFailed")
        assert event.count == 1
        reads = node.nic.reads
        node.store.broken = False
        await node.until(lambda: node.counts.allocated == 32, within_s=130)
        assert (node.nic.reads, node.nic.writes) == (reads, 2)


async def test_a_bad_spec_is_told_and_the_last_good_one_stays():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.pools.edit_spec(maxFree=4)
        node.reconciler.pool_seen(node.pools.pool or {})
        await node.until(lambda: "InvalidConfig" in node.events.reasons)
        assert node.counts.allocated == 16
        node.pools.edit_spec(maxFree=None, minFree=20, batch=4)
        node.reconciler.pool_seen(node.pools.pool or {})
        await node.until(lambda: node.counts.allocated == 20)


async def test_a_paused_pool_writes_nothing_and_says_why_pods_wait():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.pools.edit_spec(paused=True)
        node.reconciler.pool_seen(node.pools.pool or {})
        for number in range(16):
            await node.add(f"p{number}")
        await asyncio.sleep(60)
        assert node.nic.writes == 1
        assert node.condition("Ready")["reason"] == "PoolPaused"


async def test_the_node_at_its_limit_says_so():
    async with SimulatedNode(policy=Policy(maximum=16)).running() as node:
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: node.condition("AtLimit")["status"] == "True")
        await node.until(lambda: node.condition("Ready")["status"] == "False")
        assert "16 of at most 16" in node.condition("Ready")["message"]


async def test_what_somebody_else_wrote_over_the_status_is_put_right_within_seconds():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        await asyncio.sleep(10)
        told = dict(node.status)
        fields = {"free": 3, "allocated": 5, "addresses": [], "conditions": None}
        node.reconciler.pool_seen(await node.pools.patch_status(node.pools.pool or {}, fields))
        await node.until(lambda: node.status["allocated"] == 16, within_s=1)
        await asyncio.sleep(10)
        times = {"lastTransitionTime": ""}
        for status in (told, node.status):
            status["conditions"] = [one | times for one in status["conditions"]]
        assert node.status == told


async def test_a_node_at_rest_writes_nothing_whatever_the_watch_repeats():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        await asyncio.sleep(30)
        old, before, reads = dict(node.pools.pool or {}), len(node.pools.patches), node.nic.reads
        for _ in range(60):
            await asyncio.sleep(60)
            node.reconciler.pool_seen(old)
        assert len(node.pools.patches) == before
        assert (node.nic.writes, node.nic.reads - reads) == (1, 6)


async def test_a_deleted_pool_object_is_made_again_with_all_it_said():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        number = node.status["requestID"]
        node.pools.pool = None
        node.reconciler.pool_gone()
        await node.until(lambda: node.status.get("allocated") == 16)
        assert node.status["vmID"]
        await node.until(lambda: node.status.get("requested") == 16)
        assert abs(node.status["requestID"] - number) > 1000  # nothing decided for the former object is for this one


async def test_a_pool_object_that_was_replaced_unnoticed_is_told_all():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        number = node.status["requestID"]
        node.pools.pool = None
        node.reconciler.pool_seen(await node.pools.create(node.pools.node))
        await node.until(lambda: node.status.get("requested") == 16)
        assert node.status["vmID"]
        assert abs(node.status["requestID"] - number) > 1000


async def test_the_request_id_goes_on_rising_after_a_restart():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("allocated") == 16)
        number = first.status["requestID"]
    async with SimulatedNode(before=first).running() as second:
        await second.until(lambda: second.counts.free == 16)
        for count in range(10):
            second.demand.see(pod_body(f"p{count}"))
        second.reconciler.wake()
        await second.until(lambda: second.status["allocated"] == 32)
        assert second.status["requestID"] > number
