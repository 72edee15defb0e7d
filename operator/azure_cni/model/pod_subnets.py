"""Pods in a subnet of their own: which subnet a node's pods get, and what is missing where its VM has no NIC there.

azure-cni never makes a NIC: a VM has to be deallocated to get one, and whoever makes VMs makes their NICs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.errors import CloudError
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity, is_same, short_id
from azure_cni.model.nic import SubnetID, VNetID
from azure_cni.model.text import legible

_SUBNET: Final = re.compile(
    r"(/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Network/virtualNetworks/[^/\s]+)"
    r"/subnets/[^/\s]+",
    re.IGNORECASE,
)

SCALE_SET: Final = "/virtualmachinescalesets/"


class NicMissing(CloudError):
    """The VM has no NIC in the subnet that its pods are to be in, or it cannot be told on which those are that run."""

    reason = "NicMissing"


@dataclass(frozen=True, slots=True)
class PodSubnetRule:
    """Pods of nodes with all of these labels get addresses of that subnet."""

    labels: Mapping[str, str]
    subnet: SubnetID


def subnet_id(text: object) -> SubnetID | None:
    """The resource ID of a subnet; None where it is none."""
    return SubnetID(text) if isinstance(text, str) and vnet_of(text) else None


def vnet_of(subnet: str) -> VNetID | None:
    """The resource ID of the VNet that a subnet is in; None where that is no subnet's ID."""
    found = _SUBNET.fullmatch(subnet)
    return VNetID(found[1]) if found is not None else None


def read_rules(written: object) -> tuple[PodSubnetRule, ...]:
    """The chart's `pool.subnets`. ValueError says what is wrong with it."""
    if not isinstance(written, list):
        raise ValueError(f"it must be a list, and is {legible(str(written))}")  # noqa: TRY004 - a value, whatever its type
    return tuple(map(_rule, written))


def subnet_for(rules: Sequence[PodSubnetRule], labels: Mapping[str, str]) -> SubnetID:
    """That of the first rule whose labels the node has; PRIMARY_NIC where it has those of none."""
    fitting = (rule.subnet for rule in rules if rule.labels.items() <= labels.items())
    return next(fitting, PRIMARY_NIC)


def nic_missing(subnet: SubnetID, primary: NodeIdentity, others: Mapping[str, str]) -> str:
    """That the VM has no NIC in the subnet, and the commands that make one. `others`: subnets by the VM's further NICs.

    For a VM that is a resource of its own: an instance of a Uniform scale set has the NICs of the set's model.
    """
    vm = short_id(primary.vm_resource_id)
    has = [(primary.nic_id, primary.subnet_id), *sorted(others.items())]
    shown = ", ".join(f"{legible(_name(nic))} in {legible(_name(where)) or 'none'}" for nic, where in has)
    cannot = f"cannot put the pool of VM {vm} into subnet {subnet}: none of its NICs is there ({shown})"
    home = vnet_of(subnet)
    if home is not None and not is_same(home, primary.vnet_id):
        return (
            f"{cannot}, and none can be: all NICs of a VM are in one VNet, and this one's is "
            f"{legible(primary.vnet_id)}; name a subnet of that"
        )
    if SCALE_SET in primary.vm_resource_id.lower():
        return f"{cannot}; add a second NIC in that subnet to the model of its scale set, and upgrade the instance"
    group, _, name = vm.partition("/")
    group, name, nic = shlex.quote(group), shlex.quote(name), shlex.quote(f"{name}-pods")
    return (
        f"{cannot}; azure-cni makes no NICs. Drain the node and run: "
        f"az network nic create --resource-group {group} --name {nic} --subnet {shlex.quote(subnet)}; "
        f"az vm deallocate --resource-group {group} --name {name}; "
        f"az vm nic add --resource-group {group} --vm-name {name} --nics {nic}; "
        f"az vm start --resource-group {group} --name {name}"
    )


def _rule(written: object) -> PodSubnetRule:
    if not isinstance(written, dict) or not written.keys() <= {"nodeLabels", "subnet"}:
        raise ValueError(f"{legible(str(written))} is not {{nodeLabels: ..., subnet: ...}}")
    labels, subnet = written.get("nodeLabels") or {}, subnet_id(written.get("subnet"))
    if subnet is None:
        raise ValueError(f"subnet {legible(str(written.get('subnet')))} is not the resource ID of a subnet")
    if not isinstance(labels, dict) or not all(isinstance(one, str) for pair in labels.items() for one in pair):
        raise ValueError(f"nodeLabels {legible(str(labels))} are not labels and their values")
    return PodSubnetRule(labels, subnet)


def _name(resource_id: str) -> str:
    return resource_id.rpartition("/")[2]
