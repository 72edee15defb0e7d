"""A second NIC of a node, in another subnet: the pool stays on the primary one, and pods reach both subnets."""

from collections.abc import Iterator

import pytest

from azurebox.client import Box
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT, servers
from scenarios.harness.vnet import ask_from, caller_seen, guest, sees

BACK, BACK_PREFIX = "back", "10.240.8.0/24"
NIC_S = 120.0


@pytest.fixture
def second_address(box: Box, nodes: list[Node]) -> Iterator[str]:
    """The first node has a NIC more, in a subnet in which no node is; the NIC's address."""
    node = nodes[0]
    box.azure("PATCH", f"/subnets/{BACK}", {"prefix": BACK_PREFIX})
    try:
        box.azure("POST", f"/vms/{node.name}/nics", {"subnet": BACK})
        shown = box.azure("GET", f"/nics/{node.nic_name}2")
        yield str(shown["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"])
    finally:
        box.azure("DELETE", f"/vms/{node.name}/nics/{node.nic_name}2")
        box.wait_for(lambda: "eth1" not in node.run("ip", "link"), NIC_S, f"eth1 of {node.name} to be gone")


def test_a_second_nic_is_an_interface_and_pods_stay_on_the_first(
    box: Box, nodes: list[Node], second_address: str
) -> None:
    """A VM of the other subnet reaches the node by its second address; new pods have addresses of the primary NIC.

    Pods and the VM reach each other, and see each other's own address.
    """
    node = nodes[0]
    assert second_address in node.run("ip", "-4", "address", "show", "dev", "eth1")
    with guest("azbox-db", subnet=BACK) as (database, address):
        assert caller_seen(ask_from(database.name, f"{second_address}:{PORT}/clientip")) == str(address)
        with servers(box, "two-nics", node=node.name, replicas=2) as workload:
            pods = workload.pods()
            assert {pod.address for pod in pods} <= node.on_nic()
            for pod in pods:
                assert sees(box, pod, address) == str(pod.address)
                assert caller_seen(ask_from(database.name, f"{pod.address}:{PORT}/clientip")) == str(address)
    node.shows(AT_REST, within_s=NIC_S)
