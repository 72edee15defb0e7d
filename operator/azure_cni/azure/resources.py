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

_KINDS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "microsoft.network/networkinterfaces": ("nic", "NIC", NETWORK_API, OLDEST_NETWORK_API),
    "microsoft.network/virtualnetworks": ("vnet", "VNet", NETWORK_API, OLDEST_NETWORK_API),
    "microsoft.compute/virtualmachines": ("vm", "VM", COMPUTE_API, OLDEST_COMPUTE_API),
}


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
        # subscriptions/S/resourceGroups/G/providers/NAMESPACE/TYPE/NAME
        if len(parts) != 8 or parts[0].lower() != "subscriptions" or parts[4].lower() != "providers":  # noqa: PLR2004
            raise RequestRefused(f"cannot use {legible(resource_id)!r}: it is not the id of a NIC, VNet or VM")
        kind = _KINDS.get(f"{parts[5]}/{parts[6]}".lower())
        if kind is None:
            raise RequestRefused(f"cannot use {legible(resource_id)!r}: it is not the id of a NIC, VNet or VM")
        noun, word, api_version, oldest = kind
        return cls("/" + "/".join(parts), noun, f"{word} {parts[7]}", api_version, oldest)
