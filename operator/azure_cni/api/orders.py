"""What an agent without any permission in Azure asks of the controller: orders, one at a time, by way of its own pool.

The agent writes `status.order`, the controller `status.answer`; the number in both says what answers what. Numbers rise
with each order, across restarts of the agent too, and a newer order makes the one before void.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from azure_cni.api import reading
from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, NicID, NicView, VNetID
from azure_cni.errors import CloudError, InternalFault


@dataclass(frozen=True, slots=True)
class Identify:
    """Which NIC, subnet and VNet are this machine's?"""

    claim: MachineClaim


@dataclass(frozen=True, slots=True)
class ReadVNet:
    """Prefixes of the VNet that the machine is in."""

    claim: MachineClaim
    vnet_id: VNetID


@dataclass(frozen=True, slots=True)
class ReadNic:
    """The machine's NIC as it is."""

    claim: MachineClaim
    nic_id: NicID


@dataclass(frozen=True, slots=True)
class WriteNic:
    """One change of the machine's NIC that still has `etag`. `permit` is the number of the request that allows it."""

    claim: MachineClaim
    nic_id: NicID
    etag: str
    add: int
    remove: tuple[ConfigName, ...]
    permit: int


Order: TypeAlias = Identify | ReadVNet | ReadNic | WriteNic
Result: TypeAlias = NodeIdentity | VNetView | NicView
Failure: TypeAlias = CloudError | InternalFault
"""Azure's error, or a fault of the controller's own."""


def last_number(pool: Mapping[str, Any]) -> int:
    """The highest number that an order of this pool ever had, as far as the pool shows; 0 when there was none."""
    status = reading.status_of(pool)
    return max(_number(status.get("order")), _number(status.get("answer")))


def pending(pool: Mapping[str, Any]) -> int | None:
    """The number of the order that has no answer yet, None when there is none."""
    status = reading.status_of(pool)
    ordered = _number(status.get("order"))
    return ordered if ordered > _number(status.get("answer")) else None


def verb(order: Order) -> str:
    """An order in a word, for people."""
    match order:
        case Identify():
            return "identify"
        case ReadVNet():
            return "vnet"
        case ReadNic():
            return "read"
        case WriteNic():
            return "write"
        case _:
            assert_never(order)


def _number(document: object) -> int:
    return reading.last_number(reading.mapping(document).get("id"))
