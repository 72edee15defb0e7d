"""ARM resource ids as values: the kind of resource, the API version to read it with, and its name for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.errors import RequestRefused
from azure_cni.model.text import legible

# The newest versions whose answers were recorded from the real Azure (kubernetes-sigs/cloud-provider-azure).
NETWORK_API: Final = "2025-05-01"
COMPUTE_API: Final = "2025-04-01"
OLDEST_NETWORK_API: Final = "2023-11-01"
"""The first that shows address blocks (privateIPAddressPrefixLength): under an older one a NIC that has one would be
written back without it."""
OLDEST_COMPUTE_API: Final = "2017-12-01"
"""Older ones show a VM's vmId and its NICs too; a cloud that has none newer has no OLDEST_NETWORK_API either."""

OLDEST_INSTANCE_API: Final = "2024-03-01"
"""The first under which instances of scale sets have an etag (cloud-provider-azure pull 7698): without one, a write
could undo what somebody else has changed meanwhile."""
OLDEST_INSTANCE_NIC_API: Final = "2018-10-01"
"""The one that Azure's SDK uses. A NIC is never written through its instance, so no newer property can be lost."""

_KINDS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "microsoft.network/networkinterfaces": ("nic", "NIC", NETWORK_API, OLDEST_NETWORK_API),
    "microsoft.network/virtualnetworks": ("vnet", "VNet", NETWORK_API, OLDEST_NETWORK_API),
    "microsoft.compute/virtualmachines": ("vm", "VM", COMPUTE_API, OLDEST_COMPUTE_API),
    "microsoft.compute/virtualmachinescalesets/virtualmachines": (
        "instance",
        "scale set instance",
        COMPUTE_API,
        OLDEST_INSTANCE_API,
    ),
    "microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces": (
        "instance_nic",
        "NIC",
        NETWORK_API,
        OLDEST_INSTANCE_NIC_API,
    ),
}


_SHORTEST: Final = 8
"""Parts of the ID of a resource that lies in no other one."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that we speak of: `noun` names its operations, `label` is for people.

    `api_version` is the one that we ask under where a cloud supports it, `oldest_api` the oldest that will do.
    """

    id: str
    noun: str
    label: str
    api_version: str
    oldest_api: str

    @property
    def name(self) -> str:
        """The last part of the id: enough in a log line of one node."""
        return self.id.rpartition("/")[2]

    @classmethod
    def parse(cls, resource_id: str) -> Resource:
        """From a full id (/subscriptions/.../providers/NAMESPACE/TYPE/NAME); RequestRefused when it is another."""
        parts = resource_id.strip("/").split("/")
        # subscriptions/S/resourceGroups/G/providers/NAMESPACE, then TYPE/NAME, and TYPE/NAME of what lies below it
        begins_well = (
            len(parts) >= _SHORTEST and parts[0].lower() == "subscriptions" and parts[4].lower() == "providers"
        )
        kind = _KINDS.get("/".join((parts[5], *parts[6::2])).lower()) if begins_well and len(parts) % 2 == 0 else None
        if kind is None:
            raise RequestRefused(f"cannot use {legible(resource_id)!r}: it is not the id of a NIC, VNet or VM")
        noun, word, api_version, oldest = kind
        return cls("/" + "/".join(parts), noun, f"{word} {'/'.join(parts[7::2])}", api_version, oldest)

    @property
    def instance_id(self) -> str:
        """Of an instance's NIC, the id of the instance of a Uniform scale set; "" for anything else."""
        return self.id.rsplit("/", 2)[0] if self.noun == "instance_nic" else ""
