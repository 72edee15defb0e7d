"""The pool of a node over time: what is on the NIC, what people read, and what a failing Azure costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import AccessDenied, CloudUnreachable, NoAddress, PreconditionFailed, Throttled
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
            node.demand.observe_pod(pod_body(f"p{number}"))
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


async def test_a_pod_that_waits_outlasts_a_lost_race_for_the_nic():
    async with SimulatedNode(policy=Policy(min_free=1, max_free=4, batch=2)).running() as node:
        await node.until(lambda: node.counts.free == 2)
        node.nic.fail_next = PreconditionFailed("the NIC changed")
        added = await asyncio.gather(*(node.add(f"p{number}") for number in range(5)))
        assert len({attachment.addresses[0] for attachment in added}) == 5
        assert ("reconciled", "ChangedMeanwhile") in node.observer.recorded


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


async def test_an_address_that_vanishes_under_a_pod_is_reported_as_drift():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        config = next(slot.config for slot in node.stored.ledger.slots if slot.address == made.addresses[0])
        node.nic.elsewhere_give(config)
        await node.until(lambda: node.condition("Drifted")["status"] == "True", within_s=700)
        assert str(made.addresses[0]) in node.condition("Drifted")["message"]
        await node.delete("p")
        await node.until(lambda: node.condition("Drifted")["status"] == "False")


async def test_a_primary_address_that_changed_is_the_nodes_from_the_next_read_on():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        assert node.cloud.identified == 1
        node.nic.elsewhere_readdress("10.240.3.9")
        node.cloud.identity = replace(node.cloud.identity, primary_ip=IPv4Address("10.240.3.9"))
        await node.until(lambda: str(node.datapath.tables[-1].primary) == "10.240.3.9", within_s=610)
        assert str(node.state.link.primary) == "10.240.3.9"
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
        assert str(node.state.link.primary) == "10.240.0.4"
        assert (await node.add("p")).addresses[0]


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
            node.demand.observe_pod(pod_body(f"p{number}"))
        await node.until(lambda: node.counts.allocated == 3)
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
        assert "SubnetFull" in node.events.reasons
        nic.room = 100
        await node.until(lambda: node.counts.allocated == 16, within_s=180)
        await node.until(lambda: node.condition("SubnetFull")["status"] == "False")


async def test_throttling_is_obeyed_and_reported():
    node = SimulatedNode()
    node.nic.fail_next = Throttled("too many requests; come back in 40 s", retry_after_s=40.0)
    async with node.running():
        await node.until(lambda: any(one[0] == "throttled" for one in node.observer.recorded))
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
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: "NicRewritten" in node.events.reasons, within_s=400)
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
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.condition("Growing")["reason"] == "NicWriteInFlight", within_s=10)
        await node.until(lambda: node.counts.cooling == 0, within_s=135)
        nic.finish()
        await node.until(lambda: node.counts.allocated == 32)


async def test_imds_silent_is_reported_and_tried_until_it_answers():
    node = SimulatedNode()
    node.cloud.fail_next = CloudUnreachable("cannot ask IMDS at 169.254.169.254: no answer within 5 s")
    async with node.running():
        await node.until(lambda: "AzureUnreachable" in node.events.reasons)
        assert "169.254.169.254" in node.condition("Ready")["message"]
        await node.until(lambda: node.counts.free == 16)


async def test_a_kernel_that_refuses_is_reported_as_such_and_costs_azure_no_more_than_the_pool_needs():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.datapath.uplink_mac = "00:00:00:00:00:01"
        node.nic.elsewhere_add("10.240.3.10")
        reads = node.nic.reads
        await node.until(lambda: node.nic.reads > reads, within_s=610)
        reads = node.nic.reads
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        await asyncio.sleep(500)
        assert "cannot find the uplink" in node.condition("Ready")["message"]
        # One growth, and the read that belongs to it.
        assert (node.nic.reads, node.nic.writes, node.counts.allocated) == (reads + 1, 2, 32)
        assert node.counts.free == 16
        assert node.events.reasons.count("DatapathFailed") == 1
        node.datapath.uplink_mac = None
        await node.until(lambda: node.counts.free == 32, within_s=130)


async def test_a_ledger_that_cannot_be_written_is_reported_as_such():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.store.broken = True
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
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


async def test_a_nic_that_is_only_observed_is_never_written_and_says_so():
    async with SimulatedNode(nic=FakeNic(adopted=["10.240.0.50", "10.240.0.51"]), nic_read_only=True).running() as node:
        for name in ("a", "b"):
            await node.add(name)
        with pytest.raises(NoAddress, match="nicWriter is none") as refused:
            await node.add("c")
        assert refused.value.cause == "NodeAtLimit"
        await asyncio.sleep(600)
        assert node.nic.writes == 0
        assert node.condition("Growing")["reason"] == "NoNicWriter"
        warnings = {event.reason for event in node.events.published if event.kind == "Warning"}
        assert warnings == {"NoAddress", "NoFreeAddresses"}  # what pods and the scheduler should know, and no more
