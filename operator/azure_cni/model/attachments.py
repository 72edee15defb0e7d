"""What else of a VNet an ipConfiguration can have for its pod: places in load balancer pools, and a public IP address.

Azure writes and compares resource IDs without regard to case, so two spellings of one ID are equal here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from azure_cni.model.text import legible

LONGEST_ID: Final = 512
"""Characters of a resource ID: Azure's limits for the names in it come to less than 400."""
MOST_LISTED: Final = 1024
LONGEST_LIST: Final = 96 * 1024
"""Resources in one list of a NodeIPPool, and characters of their IDs together: each address of a full NIC may have
another one, with an ID as long as Azure's names can make it."""
MOST_CHANGED: Final = 32
"""Resources that one write adds to an ipConfiguration, and that it removes: several times what a pod can ask for."""
MOST_ATTACHED: Final = 64
"""Resources of one ipConfiguration in the result of a NIC operation: people may attach more to it than pods can."""
EVERY_NAMESPACE: Final = "*"

_SEGMENT: Final = r"[-\w()][-\w.()]{0,89}"  # a resource group's name has up to 90 characters, the others up to 80
_GROUP: Final = rf"/subscriptions/{_SEGMENT}/resourceGroups/{_SEGMENT}/providers/Microsoft\.Network"
_POOL: Final = re.compile(
    rf"{_GROUP}/loadBalancers/({_SEGMENT})/backendAddressPools/({_SEGMENT})", re.IGNORECASE | re.ASCII
)
_PUBLIC_IP: Final = re.compile(rf"{_GROUP}/publicIPAddresses/({_SEGMENT})", re.IGNORECASE | re.ASCII)


class AttachmentKind(StrEnum):
    """What it is, in the words of messages."""

    POOL = "load balancer pool"
    PUBLIC_IP = "public IP address"


@dataclass(frozen=True, slots=True, order=True)
class AttachedResource:
    """A backend pool or a public IP address. `id` is as it was written, `key` the same for every spelling."""

    key: str
    id: str = field(compare=False)
    kind: AttachmentKind = field(compare=False)
    name: str = field(compare=False)
    """Short, for people: `LOADBALANCER/POOL`, or the public IP address's name."""

    @classmethod
    def parse(cls, resource_id: str) -> Self | None:
        """From a full resource ID; None when it is none of these."""
        if len(resource_id) > LONGEST_ID:
            return None
        if pool := _POOL.fullmatch(resource_id):
            return cls(resource_id.lower(), resource_id, AttachmentKind.POOL, "/".join(pool.groups()))
        if public_ip := _PUBLIC_IP.fullmatch(resource_id):
            return cls(resource_id.lower(), resource_id, AttachmentKind.PUBLIC_IP, public_ip[1])
        return None

    def __str__(self) -> str:
        return f"{self.kind} {legible(self.name)}"

    @property
    def use(self) -> str:
        """Of an ipConfiguration that has it; completes "left alone: it ..."."""
        return f"{'is in' if self.kind is AttachmentKind.POOL else 'has'} the {self}"


def listable(resources: Iterable[AttachedResource]) -> tuple[AttachedResource, ...]:
    """The first of them, as many as one list of a NodeIPPool can have."""
    found: list[AttachedResource] = []
    room = LONGEST_LIST
    for resource in resources:
        room -= len(resource.id)
        if room < 0 or len(found) == MOST_LISTED:
            break
        found.append(resource)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Which resources the pods of some namespaces may use; EVERY_NAMESPACE stands for all of them."""

    namespaces: frozenset[str]
    resources: frozenset[AttachedResource]

    def covers(self, namespace: str) -> bool:
        """Whether it is for pods of that namespace."""
        return not self.namespaces.isdisjoint({namespace, EVERY_NAMESPACE})


def allowed_in(namespace: str, allowances: Iterable[Allowance]) -> frozenset[AttachedResource]:
    """All that pods of that namespace may use."""
    return frozenset().union(*(allowance.resources for allowance in allowances if allowance.covers(namespace)))


def all_allowed(allowances: Iterable[Allowance]) -> frozenset[AttachedResource]:
    """All that pods of any namespace may use."""
    return frozenset().union(*(allowance.resources for allowance in allowances))


_KINDS: Final = {"loadBalancerPools": AttachmentKind.POOL, "publicIPs": AttachmentKind.PUBLIC_IP}
"""Keys of an entry of `podNetworking.allowed`, beside `namespaces`."""


def read_allowances(written: object) -> tuple[Allowance, ...]:
    """The chart's `podNetworking.allowed`. ValueError says what is wrong with it."""
    if not isinstance(written, list):
        raise ValueError("it is no list")  # noqa: TRY004  # whoever reads settings expects this one
    return tuple(map(_allowance, written))


def _allowance(written: object) -> Allowance:
    entry = written if isinstance(written, dict) else {}
    if unknown := entry.keys() - _KINDS.keys() - {"namespaces"}:
        raise ValueError(f"an entry has no {min(unknown)}: it has namespaces, {' and '.join(_KINDS)}")
    namespaces = _texts(entry, "namespaces")
    if not namespaces:
        raise ValueError(f"an entry names no namespaces: {legible(str(written))}")
    found = []
    for key, kind in _KINDS.items():
        for resource_id in _texts(entry, key):
            resource = AttachedResource.parse(resource_id)
            if resource is None or resource.kind is not kind:
                raise ValueError(f"{legible(resource_id)!r} in {key} is not the resource ID of a {kind}")
            found.append(resource)
    return Allowance(frozenset(namespaces), frozenset(found))


def _texts(entry: dict[str, object], key: str) -> list[str]:
    written = entry.get(key) or []
    if not isinstance(written, list) or not all(isinstance(one, str) for one in written):
        raise ValueError(f"{key} is no list of texts")
    return written
