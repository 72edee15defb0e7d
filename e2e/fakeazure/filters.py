"""Security groups, route tables and storage accounts of a network: who refers to them, and what the fabric enforces.

They are documents among the network's other resources. A NIC names its security group in its settings, a subnet its
security group, route table and service endpoints in the subnet.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fakeazure import routetables, securitygroups
from fakeazure.effectivefilters import EffectiveRouteTable, EffectiveSecurityGroup, EffectiveStorage
from fakeazure.names import leaf

if TYPE_CHECKING:
    from fakeazure.network import Network

STORAGE_TYPE = "Microsoft.Storage/storageAccounts"


def security_groups(network: "Network") -> tuple[EffectiveSecurityGroup, ...]:
    """All of them, attached or not."""
    return tuple(
        securitygroups.effective(document["id"], document["properties"])
        for document in _of_type(network, securitygroups.GROUP_TYPE)
    )


def route_tables(network: "Network") -> tuple[EffectiveRouteTable, ...]:
    """All of them, attached or not."""
    return tuple(
        routetables.effective(document["id"], document["properties"])
        for document in _of_type(network, routetables.TABLE_TYPE)
    )


def storage(network: "Network") -> tuple[EffectiveStorage, ...]:
    """The storage accounts with whom they let in."""
    return tuple(
        EffectiveStorage(
            name=document["name"],
            open=document["properties"]["networkAcls"]["defaultAction"] == "Allow",
            subnet_ids=tuple(rule["id"] for rule in document["properties"]["networkAcls"]["virtualNetworkRules"]),
        )
        for document in _of_type(network, STORAGE_TYPE)
    )


def users(network: "Network", resource_id: str) -> Iterator[tuple[str, str]]:
    """(Kind, id) of all that refer to a security group, route table or application security group."""
    links = (link for link in _links(network) if link[2].lower() == resource_id.lower())
    yield from dict.fromkeys((kind, user) for kind, user, _ in links)


def _links(network: "Network") -> Iterator[tuple[str, str, str]]:
    """(Kind of the user, its id, id of what it refers to)."""
    for subnet in network.subnets.values():
        yield "subnets", subnet.id, subnet.security_group_id
        yield "subnets", subnet.id, subnet.route_table_id
    for nic in network.nics.values():
        yield "networkInterfaces", nic.id, nic.security_group_id
        for config in nic.configs:
            user = f"{nic.id}/ipConfigurations/{config.name}"
            yield from (("ipConfigurations", user, group_id) for group_id in config.group_ids)
    for document in _of_type(network, securitygroups.GROUP_TYPE):
        groups = securitygroups.references(document["properties"])
        yield from (("securityRules", document["id"], group_id) for group_id in groups)


def _of_type(network: "Network", kind: str) -> list[dict[str, Any]]:
    found = (document for document in network.others.values() if document["type"].lower() == kind.lower())
    return sorted(found, key=lambda document: leaf(document["id"]))
