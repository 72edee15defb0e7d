"""On which NIC the pool is: by the spec, by the node's labels; and it moves only when no pod is left."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from azure_cni.model.nic import SubnetID
from azure_cni.model.pod_subnets import PodSubnetRule
from azure_cni.node.pool.pool_nic import LABELS_S
from fakes.cloud import IDENTITY
from fakes.metadata import FakeMetadata
from fakes.nic import NIC_ID
from fakes.simulated_node import SimulatedNode
from unit.node.two_nics import (
    OTHERS,
    PENDING,
    POD_NIC,
    PODS,
    addresses,
    is_on,
    moved,
    node_with_two_nics,
    second_nic,
    want,
)

pytestmark = pytest.mark.looptime

RULES = (PodSubnetRule({"pool": "blue"}, PODS), PodSubnetRule({"pool": "red"}, OTHERS))


async def test_the_pool_is_on_the_nic_in_the_subnet_that_the_spec_names() -> None:
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        facts = [node.status[key] for key in ("subnetID", "macAddress", "primaryIP", "nodeIP")]
        assert facts == [PODS, "00:0d:3a:1b:c7:22", "10.240.8.4", "10.240.0.4"]
        table = node.datapath.tables[-1]
        assert (table.uplink_mac, str(table.primary)) == ("00:0d:3a:1b:c7:22", "10.240.8.4")
        assert (table.node_nic, str(table.node_address)) == (node.state.identity.node_nic, "10.240.0.4")
        await node.add("a")
        assert str(node.state.link.primary) == "10.240.0.4"
        assert node.condition(PENDING)["reason"] == "NicAsWanted"


@pytest.mark.parametrize(("labels", "nic"), [({"pool": "blue"}, POD_NIC), ({"pool": "green"}, NIC_ID), ({}, NIC_ID)])
async def test_the_charts_rules_choose_by_the_nodes_labels(labels: dict[str, str], nic: str) -> None:
    node = node_with_two_nics(pod_subnets=RULES)
    node.pools.node["metadata"]["labels"] = labels
    async with node.running():
        await node.until(lambda: bool(node.counts.free) and node.status.get("nicID") == nic)


async def test_labels_that_cannot_be_read_again_are_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    """The API server is away for longer than labels are believed: the node knows well where it is."""
    node = node_with_two_nics(pod_subnets=RULES)
    node.pools.node["metadata"]["labels"] = {"pool": "blue"}
    async with node.running():
        await moved(node)
        node.pools.silent = True
        await asyncio.sleep(2 * LABELS_S)
        assert "identity" not in {getattr(record, "activity", "") for record in caplog.records}
        assert node.state.identity.nic_id == POD_NIC
        node.pools.node["metadata"]["labels"], node.pools.silent = {}, False
        await node.until(lambda: is_on(node, NIC_ID, "10.240.0"))


async def test_the_spec_overrules_the_labels() -> None:
    node = node_with_two_nics(pod_subnets=RULES)
    node.pools.node["metadata"]["labels"] = {"pool": "blue"}
    async with node.running():
        await moved(node)
        want(node, IDENTITY.subnet_id)
        await node.until(lambda: is_on(node, NIC_ID, "10.240.0"))
        assert node.status.get("nodeIP") is None


async def test_what_is_missing_is_said_with_the_commands_and_looked_for_again() -> None:
    node = node_with_two_nics()
    nic = node.cloud.pod_nics.pop(PODS)
    async with node.running():
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await node.until(lambda: node.condition(PENDING)["reason"] == "NicMissing")
        assert (node.condition(PENDING)["status"], node.condition("Ready")["status"]) == ("True", "True")
        message = node.condition(PENDING)["message"]
        assert f"az network nic create --resource-group g --name vm1-pods --subnet {PODS}" in message
        assert "az vm nic add --resource-group g --vm-name vm1 --nics vm1-pods" in message
        node.cloud.pod_nics[PODS] = nic
        await moved(node)
        assert node.condition(PENDING)["status"] == "False"


async def test_a_new_node_without_the_nic_is_not_ready() -> None:
    node = node_with_two_nics(pod_subnets=(PodSubnetRule({}, OTHERS),))
    async with node.running():
        await node.until(lambda: bool(node.status.get("conditions")) and not node.state.ready)
        await node.until(lambda: node.condition("Ready")["reason"] == "NicMissing")
        assert node.condition("Ready")["status"] == "False"
        assert node.condition(PENDING)["reason"] == "NicMissing"


async def test_pods_keep_their_nic_and_the_pool_says_which_are_in_the_way() -> None:
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("a")
        want(node, PODS)
        await node.until(lambda: node.condition(PENDING)["status"] == "True")
        reported = node.condition(PENDING)
        assert reported["reason"] == "PodsRunning"
        assert reported["message"] == (
            f"a pool in subnet {PODS} is wanted, but 1 pod of this node has its address in subnet "
            f"{IDENTITY.subnet_id}: pod default/a. They keep their network, and new pods get addresses there too. "
            "Drain the node (kubectl drain vm1 --ignore-daemonsets --delete-emptydir-data) and delete the pods "
            "that are left there, or reboot it: the pool moves as soon as no pod is left"
        )
        assert [one.message for one in node.events.published if one.reason == PENDING] == [reported["message"]]
        await node.add("b")
        assert addresses(node) == {"10.240.0"}
        await node.delete("a")
        await node.delete("b")
        await moved(node)
        assert node.condition(PENDING)["status"] == "False"


async def test_a_pod_that_comes_while_azure_is_asked_keeps_the_pool_where_it_is() -> None:
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        asked = node.cloud.identify

        async def identify(subnet: SubnetID) -> Any:
            identity = await asked(subnet)
            await node.add("a")
            return identity

        node.cloud.identify = identify  # type: ignore[method-assign]
        want(node, PODS)
        await node.until(lambda: node.condition(PENDING)["status"] == "True")
        assert node.status["nicID"] == NIC_ID


async def test_the_next_agent_moves_nothing_either() -> None:
    """It knows from the pool's status on which NIC the pods are; after a reboot there are none."""
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        await node.add("a")
    want(node, None)
    async with SimulatedNode(before=node).running() as successor:
        await successor.until(lambda: successor.condition(PENDING)["status"] == "True")
        assert successor.status["nicID"] == POD_NIC
        assert addresses(successor) == {"10.240.8"}
        await successor.add("b")
    async with SimulatedNode(before=successor, rebooted=True).running() as rebooted:
        await rebooted.until(lambda: is_on(rebooted, NIC_ID, "10.240.0"))


async def test_pods_are_served_while_azure_is_silent() -> None:
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        await node.add("a")
    node.cloud.silent = True
    async with SimulatedNode(before=node).running() as successor:
        await successor.until(lambda: successor.state.ready)
        assert str(successor.state.link.primary) == "10.240.0.4"
        await successor.add("b")


OWN, OTHER_OWN = (frozenset({IPv4Address(address)}) for address in ("10.240.0.4", "10.240.0.9"))
"""The node's own address on the primary NIC, and another one that somebody gives it."""


def give_another_address(node: SimulatedNode) -> None:
    (address,) = OTHER_OWN
    node.cloud.identity = replace(IDENTITY, primary_ip=address)


def has_the_other_address(node: SimulatedNode) -> bool:
    return node.status.get("nodeIP") == str(node.state.link.primary) == "10.240.0.9"


async def test_another_address_of_the_primary_nic_is_noticed_in_seconds_with_the_pool_on_the_second() -> None:
    second = second_nic()
    metadata = FakeMetadata(second)
    metadata.others[IDENTITY.mac] = OWN
    async with node_with_two_nics(second, shown_addresses=metadata).running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        await node.add("a")
        identified = node.cloud.identified
        await asyncio.sleep(600.0)
        assert node.cloud.identified == identified
        give_another_address(node)
        metadata.others[IDENTITY.mac] = OTHER_OWN
        await node.until(lambda: has_the_other_address(node), within_s=30.0)
        assert str(node.datapath.tables[-1].node_address) == "10.240.0.9"
        assert node.cloud.identified == identified + 1


async def test_a_service_that_shows_a_wrong_address_of_the_node_costs_little() -> None:
    second = second_nic()
    metadata = FakeMetadata(second)
    metadata.others[IDENTITY.mac] = OTHER_OWN
    async with node_with_two_nics(second, shown_addresses=metadata).running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        identified = node.cloud.identified
        await asyncio.sleep(3000.0)
        assert node.cloud.identified - identified in range(4, 7)
        assert node.status["nodeIP"] == "10.240.0.4"


async def test_without_the_service_another_address_of_the_primary_nic_is_noticed_within_the_hour() -> None:
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        give_another_address(node)
        await node.until(lambda: has_the_other_address(node), within_s=3700.0)
