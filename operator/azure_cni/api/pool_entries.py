"""Parts of a NodeIPPool's status as they are written: who the node is, what its NIC holds, what it is asked for.

A line about an ipConfiguration has a bounded length, whatever others called it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any, Final

from azure_cni.api import reading
from azure_cni.api.node_ip_pool import NodeIPPool, Recall
from azure_cni.model.attachments import AttachedResource, listable
from azure_cni.model.config_names import LONGEST_CONFIG_NAME
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import ExcludedConfiguration
from azure_cni.model.text import plain

LONGEST_EXCLUDED: Final = 320
"""Characters of an entry of `status.excluded`: a name, an address, and why, with the two names of a pool."""


def identity_status(identity: NodeIdentity) -> dict[str, Any]:
    """The part of the status that says who this node is in Azure."""
    return {
        "vmID": identity.vm_id,
        "nicID": identity.nic_id,
        "subnetID": identity.subnet_id,
        "vnetID": identity.vnet_id,
        "macAddress": identity.mac,
        "primaryIP": str(identity.primary_ip),
        "nodeIP": None if identity.node_nic is None else str(identity.node_nic.address),
    }


def excluded_entry(config: ExcludedConfiguration) -> str:
    """One entry of `status.excluded`: a line for people, of bounded length."""
    return plain(str(config), LONGEST_EXCLUDED)


def attached_entries(resources: Iterable[AttachedResource]) -> list[str]:
    """`status.vnetAttachments`: the resource IDs of what pods have attached, as many as the list can have."""
    return [resource.id for resource in listable(sorted(resources))]


def address_entry(address: IPv4Address, config: str) -> str:
    """One entry of `status.vnetAddresses`: the address and its ipConfiguration, on one line of bounded length.

    It says what is on the NIC, not which pod has it, so that nothing is written when a pod starts or ends.
    """
    return f"{address} {plain(config, LONGEST_CONFIG_NAME)}"


def attached_resources(pool: NodeIPPool) -> frozenset[AttachedResource]:
    """What an agent of this node said that pods have attached, whatever the values allow now."""
    written = pool.status.get("vnetAttachments")
    found = (AttachedResource.parse(reading.text(one)) for one in (written if isinstance(written, list) else ()))
    return frozenset(resource for resource in found if resource is not None)


def recall_document(recall: Recall | None) -> dict[str, int] | None:
    """As in `status.recall`."""
    return None if recall is None else {"number": recall.number, "hold": recall.hold}
