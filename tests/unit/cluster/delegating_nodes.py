"""Two nodes of two VMs that delegate their NIC operations, and what they may."""

from __future__ import annotations

from typing import Any

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, nic_label
from azure_cni.model.identity import IdentityClaim
from fakes.cluster import FakeCluster
from fakes.delegation import reserve
from fakes.machines import identity_of

VM1, VM2 = identity_of("vm1"), identity_of("vm2")
CLAIM, CLAIM2 = (IdentityClaim(vm.vm_id, vm.vm_resource_id, macs=(vm.mac,)) for vm in (VM1, VM2))


def granted(
    cluster: FakeCluster, name: str = "vm1", count: int = 16, *, number: int = 1, write: str = "Grow", **status: Any
) -> None:
    """A node whose request for such a write is reserved, and answered."""
    nic = nic_label(identity_of(name).nic_id)
    reserve(cluster, name, LedgerEntry(count, number, nic, write_intent=WriteIntent(write)))
    status = {"granted": count, "grantedFor": number, "requested": count, "vmID": f"guid-of-{name}", **status}
    cluster.node(name, number=number, **status)
