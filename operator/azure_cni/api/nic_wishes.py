"""What the spec of a NodeIPPool wants of the NIC beside addresses: in which subnet it is, and its security groups."""

from __future__ import annotations

import re
from typing import Final

from azure_cni.api import reading
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.errors import ConfigInvalid
from azure_cni.model import pod_subnets
from azure_cni.model.nic import SubnetID
from azure_cni.model.text import legible

_SECURITY_GROUP: Final = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/applicationSecurityGroups/[^/]+",
    re.IGNORECASE,
)


def wanted_subnet(pool: NodeIPPool) -> SubnetID | None:
    """The subnet in which the spec wants the NIC of the pool; None where it says nothing. ConfigInvalid for what is
    none.
    """
    written = pool.spec.get("nic")
    if written is None:
        return None
    subnet = pod_subnets.subnet_id(reading.mapping(written).get("subnet"))
    if subnet is None:
        raise ConfigInvalid(
            f"cannot use spec.nic of NodeIPPool {pool.name}: subnet must be the resource ID of a subnet, and it is "
            f"{legible(str(written))}"
        )
    return subnet


def wanted_security_groups(pool: NodeIPPool) -> tuple[str, ...] | None:
    """The application security groups (resource IDs) that the spec wants the NIC to be in, none of them twice; None
    where it leaves that to others. ConfigInvalid for what is none.
    """
    written = pool.spec.get("applicationSecurityGroups")
    if written is None:
        return None
    ids = [one for one in written if isinstance(one, str)] if isinstance(written, list) else []
    if not isinstance(written, list) or not all(map(_SECURITY_GROUP.fullmatch, ids)) or len(ids) < len(written):
        raise ConfigInvalid(
            f"cannot use spec.applicationSecurityGroups of NodeIPPool {pool.name}: it must be a list of resource "
            f"IDs of application security groups, and is {legible(str(written))}"
        )
    return tuple({one.lower(): one for one in ids}.values())
