"""The NodeIPPool object: what people wrote in its spec, and what machines wrote in its status.

People write the spec, where every field is optional; the chart's values fill what it leaves out. Machines write the
status. An object is parsed once, where it is read from the API server, and passed on as a frozen value. The API server
has checked types and ranges by the CRD, but an older CRD may still be installed. So parsing is tolerant (`api.reading`)
and never fails: one odd object must not stop a controller's work for all others. The spec is validated where it is used
(`spec_overrides`, `ipam.sizing.Policy`), because people must learn what is wrong with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Final

from azure_cni.api import reading
from azure_cni.api.reading import Version, version
from azure_cni.errors import ConfigInvalid
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import BLOCK_LENGTH, SubnetID, VNetID
from azure_cni.model.text import seconds_of

GROUP = "azure-cni.io"
VERSION = "v1alpha1"
KIND = "NodeIPPool"
PLURAL = "nodeippools"

READ_NOW = f"{GROUP}/read-now"
"""The annotation by which people ask an agent to read its NIC now: each new value is a request."""
LONGEST_REQUEST: Final = 256
"""Characters of its value: the beginning of a longer one counts."""

PAUSE = f"{GROUP}/pause"
"""The annotation in which `azure-cni pause` says who paused a pool and why, as JSON. Agents go by `spec.paused`."""
PAUSE_WRITER = "azure-cni-pause"
"""Under which it writes (`fieldManager`): it owns `spec.paused` in `metadata.managedFields` until another sets it."""

SPEC_FIELDS = {
    "minFree": "min_free",
    "maxFree": "max_free",
    "batch": "batch",
    "size": "size",
    "max": "maximum",
    "paused": "paused",
    "blocks": "blocks",
}
"""Keys of the spec, and what they are called in `ipam.sizing.Policy`. For the others see `wanted_mode`
and `nic_wishes`."""

MOST_WAITING: Final = 10_000
"""Pods of one node, as in the definition's schema. Shares are calculated from it."""


@dataclass(frozen=True, slots=True)
class Request:
    """How many addresses the node asks to hold. `number` rises with each change, and no later pool repeats it."""

    count: int
    number: int


@dataclass(frozen=True, slots=True)
class Recall:
    """The controller's wish that a node give idle addresses back, because pods of other nodes wait for one.

    The node holds at most `hold` addresses, or as many as its own pods need. It shrinks once for each `number`; until
    the wish is withdrawn it does not ask for spare addresses beyond that.
    """

    number: int
    hold: int


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


class WriteIntent(StrEnum):
    """The one NIC write that the newest request is for, and that its grant allows (`status.writeIntent`)."""

    NONE = "None"
    GROW = "Grow"
    SHRINK = "Shrink"
    REWRITE = "Rewrite"
    ATTACH = "Attach"


@dataclass(frozen=True, slots=True)
class NodeIPPool:
    """One version of the object. Counts are addresses; times are seconds since 1970."""

    name: str
    """Its node's name."""
    version: Version
    generation: int
    """Of the spec."""
    spec: Mapping[str, Any]
    """As people wrote it, unchecked."""
    read_now: str
    """What a person last set the annotation `READ_NOW` to; "" where nobody did."""

    view: PoolView
    """The grant protocol's fields; zeros before anyone has written."""
    last_number: int
    """The number from which the next request counts on (see `last_request`)."""
    write_intent: WriteIntent
    waiting: int
    """Pods without an address, beyond those that the free ones serve."""
    free: int
    assigned: int
    target: int
    """What it wants to hold for its pods."""
    throttled_until_s: float
    """Until when Azure asked its agent to wait; 0 when it did not."""
    grant_reason: str
    grant_message: str
    grant_not_before_s: float | None
    releasable: int
    """Idle addresses that its agent could give back at once; 0 where it cannot, or knows no `Recall`."""
    recall: Recall | None
    recall_met: int
    """The number of the newest one for which nothing remains to be done, as its agent says."""
    recalling: int
    """How many addresses other nodes are to give back for its pods."""
    subnet_refused: str
    """When the subnet last had too few for pods that wait; "" while it has enough, or none waits."""
    by_blocks: bool
    """It grows by blocks of addresses."""

    vm_id: str | None
    """The GUID of the VM whose agent wrote the status; None where none has."""
    vnet_id: VNetID
    """"" while its agent has not found out."""
    subnet_id: SubnetID
    """As `vnet_id`."""
    nic_id: str
    """As `vnet_id`; a resource ID."""
    mode: ModeName
    """The mode in which its agent last prepared the node for pods; `transparent` where it has not said."""
    uplink: tuple[str, IPv4Address] | None
    """The NIC's MAC and primary address as they were last written; None when they never were, or make no sense."""
    node_ip: IPv4Address | None
    """The node's own address, where its pool was on another NIC than the primary one when that was last written."""
    read_answered: str
    """The `read_now` that the reading in `status.lastRead` answered."""
    status: Mapping[str, Any]
    """All of it as it was read: for conditions, NIC operations, and to find what differs from the next status."""

    def spec_overrides(self) -> dict[str, int | bool]:
        """What the spec says, under the names of `Policy`; keys it leaves out are absent. ConfigInvalid if unusable."""
        overrides: dict[str, int | bool] = {}
        for key, name in SPEC_FIELDS.items():
            value = self.spec.get(key)
            if value is None:
                continue
            if not isinstance(value, int):
                raise ConfigInvalid(f"cannot use spec.{key} of NodeIPPool {self.name}: {value!r} is not a number")
            overrides[name] = value
        return overrides

    def wanted_mode(self, default: ModeName) -> ModeName:
        """The mode that the spec asks for. ConfigInvalid for one that there is not."""
        text = self.spec.get("mode", default)
        if text not in set(ModeName):
            raise ConfigInvalid(
                f"cannot use spec.mode of NodeIPPool {self.name}: {text!r} is none of {', '.join(ModeName)}"
            )
        return ModeName(str(text))

    def last_request(self, *, vm_id: str) -> Request:
        """The request as this VM's agent last wrote it; nothing where the status is another VM's (a reused name).

        Numbers never come back with a name: where no agent has written yet, they begin where the object's UID says. So
        a decision about an object that is gone is never mistaken for one about the object that came after it.
        """
        mine = self.vm_id is None or self.vm_id == vm_id
        return Request(count=self.view.request.count if mine else 0, number=self.last_number)


def parse(body: Mapping[str, Any]) -> NodeIPPool:
    """The object as it was read. Never fails: what is not of its type counts as absent."""
    metadata, status = reading.metadata_of(body), reading.status_of(body)
    annotations = reading.mapping(metadata.get("annotations"))
    return NodeIPPool(
        name=reading.text(metadata.get("name")),
        version=version(body),
        generation=reading.number(metadata.get("generation")),
        spec=reading.spec_of(body),
        read_now=reading.text(annotations.get(READ_NOW))[:LONGEST_REQUEST],
        view=_view(status),
        last_number=_last_number(version(body), status.get("requestID")),
        write_intent=_write_intent(status.get("writeIntent")),
        waiting=reading.whole(status.get("waiting"), most=MOST_WAITING),
        free=reading.addresses(status.get("free")),
        assigned=reading.addresses(status.get("assigned")),
        target=reading.addresses(status.get("target")),
        throttled_until_s=seconds_of(status.get("throttledUntil")) or 0.0,
        grant_reason=reading.text(status.get("grantReason")),
        grant_message=reading.text(status.get("grantMessage")),
        grant_not_before_s=seconds_of(status.get("grantNotBefore")),
        releasable=reading.addresses(status.get("releasable")),
        recall=_recall(reading.mapping(status.get("recall"))),
        recall_met=reading.number(status.get("recallMet")),
        recalling=reading.whole(status.get("recalling"), most=MOST_WAITING),
        subnet_refused=reading.text(status.get("subnetRefusedTime")),
        by_blocks=status.get("blocks") == BLOCK_LENGTH,
        vm_id=reading.text(status["vmID"]) if "vmID" in status else None,
        vnet_id=VNetID(reading.text(status.get("vnetID"))),
        subnet_id=SubnetID(reading.text(status.get("subnetID"))),
        nic_id=reading.text(status.get("nicID")),
        mode=_mode(status.get("mode")),
        uplink=_uplink(status),
        node_ip=_address(status.get("nodeIP")),
        read_answered=reading.text(reading.mapping(status.get("lastRead")).get("request"))[:LONGEST_REQUEST],
        status=status,
    )


def _view(status: Mapping[str, Any]) -> PoolView:
    requested, granted, allocated = (
        reading.addresses(status.get(key)) for key in ("requested", "granted", "allocated")
    )
    number, granted_for = (reading.number(status.get(key)) for key in ("requestID", "grantedFor"))
    return PoolView(Request(requested, number), granted=granted, granted_for=granted_for, allocated=allocated)


def _recall(written: Mapping[str, Any]) -> Recall | None:
    """None where none was written."""
    number = reading.number(written.get("number"))
    return Recall(number, hold=reading.addresses(written.get("hold"))) if number else None


def _last_number(seen: Version, written: object) -> int:
    """The number that was written, or one that no other object of that name began near.

    The latter is up to 2**52: 32 bits of the UID, and 20 to count with. Where the number was overwritten by one that
    azure-cni cannot have given, it starts at another offset.
    """
    beginning = f"{seen.uid}/{seen.number}" if written else seen.uid
    return reading.last_number(written) or zlib.crc32(beginning.encode()) << 20


def _write_intent(text: object) -> WriteIntent:
    """A value that this build does not know counts as a write: it costs a token, and is answered all the same."""
    try:
        return WriteIntent(str(text or WriteIntent.NONE))
    except ValueError:
        return WriteIntent.REWRITE


def _mode(text: object) -> ModeName:
    try:
        return ModeName(str(text))
    except ValueError:
        return ModeName.TRANSPARENT


def _uplink(status: Mapping[str, Any]) -> tuple[str, IPv4Address] | None:
    mac, primary = reading.text(status.get("macAddress")), _address(status.get("primaryIP"))
    return (mac, primary) if mac and primary is not None else None


def _address(written: object) -> IPv4Address | None:
    try:
        return IPv4Address(reading.text(written))
    except ValueError:
        return None


UNREAD: Final = parse({})
"""A pool of which nothing is known: before it is read, and after it was deleted."""
