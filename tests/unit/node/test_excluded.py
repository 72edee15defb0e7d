"""Somebody attaches something to an address of the pool: the pod on it stays, and the next one gets another."""

import asyncio
import logging

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import ConfigName
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime


def config_of(node, address) -> ConfigName:
    return next(slot.config for slot in node.stored.ledger.slots if slot.address == address)


async def test_a_living_pod_keeps_the_address_and_its_traffic_leaves_from_what_was_attached():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        name = config_of(node, made.addresses[0])
        node.nic.elsewhere_attach(name)
        await node.until(lambda: made.addresses[0] in node.datapath.tables[-1].public, within_s=700)
        assert made.addresses[0] in node.datapath.tables[-1].pool
        assert node.status["excluded"] == [f"{name} {made.addresses[0]}: has the public IP address frontend"]
        assert node.condition("Drifted")["status"] == "False"
        assert all(name not in entry for entry in node.status["vnetAddresses"])
        await node.delete("p")
        await node.until(lambda: made.addresses[0] not in node.datapath.tables[-1].pool, within_s=100)
        assert all(slot.address != made.addresses[0] for slot in node.stored.ledger.slots)
        assert made.addresses[0] in node.nic.addresses


async def test_nobody_gets_it_until_nothing_is_attached_any_more(caplog):
    caplog.set_level(logging.INFO, logger="azure_cni.node.pool.pool_task")
    nic = FakeNic(adopted=["10.240.0.200"])
    async with SimulatedNode(nic=nic, policy=Policy(min_free=1, max_free=2, batch=1)).running() as node:
        await node.until(lambda: node.counts.free == 1)
        nic.elsewhere_attach("adopted-10-240-0-200")
        await node.until(lambda: node.counts.allocated == 1 and node.nic.writes == 1, within_s=700)
        pods = [(await node.add(f"p{number}")).addresses[0] for number in range(3)]
        assert "10.240.0.200" not in map(str, pods)
        nic.elsewhere_detach("adopted-10-240-0-200")
        await node.until(
            lambda: any(str(it.address) == "10.240.0.200" for it in node.stored.ledger.slots), within_s=700
        )
        await asyncio.sleep(1)
    said = [record.__dict__["excluded"] for record in caplog.records if "no pod gets" in record.message]
    assert said == [["adopted-10-240-0-200 10.240.0.200: has the public IP address frontend"], []]


async def test_a_nic_that_others_fill_is_at_its_limit():
    nic = FakeNic(adopted=[f"10.240.3.{number}" for number in range(1, 21)])
    for number in range(1, 21):
        nic.elsewhere_attach(f"adopted-10-240-3-{number}")
    async with SimulatedNode(nic=nic, policy=Policy(size=250)).running() as node:
        await node.until(lambda: node.counts.free == 235)
        await node.until(lambda: node.condition("AtLimit")["status"] == "True", within_s=10)
        assert node.condition("AtLimit")["message"] == (
            "this node holds 235 of at most 235 addresses: 0 assigned, 0 cooling, 235 free; the NIC is full, with 20 "
            "ipConfigurations for no pod (status.excluded)"
        )
        assert node.condition("Growing")["status"] == "False"
        assert node.status["requested"] == node.status["target"] == 235
        await asyncio.sleep(600)
        assert nic.writes == 1
