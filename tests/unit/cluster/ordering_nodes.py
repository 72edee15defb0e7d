"""Two nodes of two VMs that order, and what they may."""

from __future__ import annotations

from typing import Any

from azure_cni.api.identity import MachineClaim
from fakes.cluster import FakeCluster
from fakes.machines import identity_of

VM1, VM2 = identity_of("vm1"), identity_of("vm2")
CLAIM, CLAIM2 = (MachineClaim(vm.vm_id, vm.vm_resource_id, macs=(vm.mac,)) for vm in (VM1, VM2))


def granted(cluster: FakeCluster, name: str = "vm1", count: int = 16, *, number: int = 1, **status: Any) -> None:
    """A node whose request is answered."""
    status = {"granted": count, "grantedFor": number, "requested": count, "vmID": f"guid-of-{name}", **status}
    cluster.node(name, number=number, **status)
