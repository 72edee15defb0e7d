"""The NodeIPPool object: reading what people wrote in its spec, and writing its status.

The spec is people's and every field is optional: what it leaves out comes from the chart's values. The status is
machines'. The API server has checked types and ranges by the CRD; what reaches us is checked again where it is used
(`ipam.sizing.Policy` for the spec, `api.reading` for the status), because an older CRD may still be installed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any

from azure_cni.api import reading
from azure_cni.api.identity import NodeIdentity
from azure_cni.api.nic import ExcludedConfiguration
from azure_cni.api.versions import version
from azure_cni.errors import ConfigInvalid

GROUP = "azure-cni.io"
VERSION = "v1alpha1"
KIND = "NodeIPPool"
PLURAL = "nodeippools"

READ_NOW = f"{GROUP}/read-now"
"""The annotation by which people ask an agent to read its NIC now: each new value is a request."""

SPEC_FIELDS = {
    "minFree": "min_free",
    "maxFree": "max_free",
    "batch": "batch",
    "size": "size",
    "max": "maximum",
    "paused": "paused",
}
"""Keys of the spec, and what they are called in `ipam.sizing.Policy`. `mode` is the data plane's."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the node asks to hold on its NIC. `number` rises with each change, and never comes back with a new pool."""

    count: int
    number: int


@dataclass(frozen=True, slots=True)
class PoolView:
    """One read of the protocol's fields in a NodeIPPool's status: `granted` answers the request `granted_for`."""

    request: Request
    granted: int
    granted_for: int
    allocated: int

    @property
    def needed(self) -> int:
        """What must stay granted: the request, and what is on the NIC by the last report."""
        return max(self.request.count, self.allocated)


class Wants(StrEnum):
    """The one write of the NIC that an answer to the newest request allows (`status.wants`)."""

    NOTHING = "Nothing"
    GROW = "Grow"
    RELEASE = "Release"
    MEND = "Mend"


def view(pool: Mapping[str, Any]) -> PoolView:
    """The protocol's fields as the object shows them; zeros where nobody has written yet."""
    status = reading.status_of(pool)
    requested, granted, allocated = (
        reading.addresses(status.get(key)) for key in ("requested", "granted", "allocated")
    )
    number, granted_for = (reading.number(status.get(key)) for key in ("requestID", "grantedFor"))
    return PoolView(Request(requested, number), granted=granted, granted_for=granted_for, allocated=allocated)


def spec_overrides(pool: Mapping[str, Any]) -> dict[str, int | bool]:
    """What the pool's spec says, under the names of `Policy`; keys it leaves out are absent."""
    spec = reading.spec_of(pool)
    overrides: dict[str, int | bool] = {}
    for key, name in SPEC_FIELDS.items():
        value = spec.get(key)
        if value is None:
            continue
        if not isinstance(value, int):
            raise ConfigInvalid(f"cannot use spec.{key} of NodeIPPool {pool_name(pool)}: {value!r} is not a number")
        overrides[name] = value
    return overrides


def pool_name(pool: Mapping[str, Any]) -> str:
    """The pool's name, which is its node's."""
    return reading.text(reading.metadata_of(pool).get("name"))


def generation(pool: Mapping[str, Any]) -> int:
    """The generation of the spec that was last read."""
    return reading.number(reading.metadata_of(pool).get("generation"))


def last_request(pool: Mapping[str, Any], *, vm_id: str) -> Request:
    """The request as this VM's agent last wrote it; nothing where the status is another VM's (the name was reused).

    Numbers never come back with a name: where no agent has written yet, they begin where the object's UID says. So what
    was decided for an object that is gone is never taken for a decision on the one that came after it.
    """
    status = reading.status_of(pool)
    written = status.get("requestID")
    number = reading.last_number(written) or _beginning(pool, again=bool(written))
    if status.get("vmID", vm_id) != vm_id:
        return Request(count=0, number=number)
    return Request(count=reading.addresses(status.get("requested")), number=number)


def _beginning(pool: Mapping[str, Any], *, again: bool) -> int:
    """A number that no other object of that name began near, up to 2**52: 32 bits of the UID, and 20 to count with.

    `again`: its number was overwritten by one that azure-cni cannot have given; then it starts at another offset.
    """
    uid, state = version(pool)
    return zlib.crc32(f"{uid}/{state}".encode() if again else uid.encode()) << 20


def read_request(pool: Mapping[str, Any]) -> str:
    """What a person last set `READ_NOW` to; "" where nobody did."""
    annotations = reading.mapping(reading.metadata_of(pool).get("annotations"))
    return reading.text(annotations.get(READ_NOW))


def read_answered(pool: Mapping[str, Any]) -> str:
    """The request that the reading in `status.lastRead` answered."""
    return reading.text(reading.mapping(reading.status_of(pool).get("lastRead")).get("request"))


def last_uplink(pool: Mapping[str, Any]) -> tuple[str, IPv4Address] | None:
    """The NIC's MAC and primary address as they were last written; None when they never were, or make no sense."""
    status = reading.status_of(pool)
    mac, primary = reading.text(status.get("macAddress")), reading.text(status.get("primaryIP"))
    try:
        return (mac, IPv4Address(primary)) if mac else None
    except ValueError:
        return None


def identity_status(identity: NodeIdentity) -> dict[str, Any]:
    """The part of the status that says who this node is in Azure."""
    return {
        "vmID": identity.vm_id,
        "nicID": identity.nic_id,
        "subnetID": identity.subnet_id,
        "vnetID": identity.vnet_id,
        "macAddress": identity.mac,
        "primaryIP": str(identity.primary_ip),
    }


def excluded_entry(config: ExcludedConfiguration) -> str:
    """One entry of `status.excluded`: a line for people, of bounded length."""
    return str(config)


def address_entry(address: IPv4Address, config: str) -> dict[str, str]:
    """One entry of `status.addresses`: what is on the NIC, not who holds it, so that nothing is written per pod."""
    return {"address": str(address), "name": config}
