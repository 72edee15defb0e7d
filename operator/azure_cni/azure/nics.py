"""Which port is a NIC's: that of a NIC of its own, or that of an instance of a Uniform scale set. Its ID says it.

The NIC of a plain VM, and of one in a Flexible scale set, is a resource of its own. Of an instance of a Uniform set,
VM and NIC have IDs below the set's.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeAlias

from azure_cni.azure.arm import Arm
from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.resources import Resource
from azure_cni.azure.scale_set_nic import ScaleSetNic
from azure_cni.model.nic import Adopt, NicID

AnyNic: TypeAlias = ArmNic | ScaleSetNic
"""Each implements `azure_cni.node.azure_ports.Nic`."""


def nic_at(
    arm: Arm,
    nic_id: NicID,
    *,
    chance: Random,
    adopt: Adopt,
    shrink_scale_sets: bool,
    beside: Sequence[NicID] = (),
) -> AnyNic:
    """The port of the NIC of that ID, on a VM with those NICs `beside` it. RequestRefused when it is no NIC's."""
    if Resource.parse(nic_id).instance_id:
        return ScaleSetNic(arm, nic_id, chance=chance, adopt=adopt, shrink=shrink_scale_sets)
    return ArmNic(arm, nic_id, chance=chance, adopt=adopt, beside=beside)
