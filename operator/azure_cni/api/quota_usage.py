"""What a VNetQuota's status says of use as Azure counts it: of the VNet, and of each subnet that nodes are in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api.reading import mapping, mappings, text, whole
from azure_cni.model.nic import MOST_USED
from azure_cni.model.text import seconds_of, time_text

MOST_SUBNETS: Final = 64
"""Subnets of one VNet that its quota speaks of: those that are fullest."""


@dataclass(frozen=True, slots=True)
class AzureUse:
    """What Azure says of the VNet: addresses `used` by whomever, by others `outside`; read at `read_s` (since 1970)."""

    used: int
    outside: int
    read_s: float


@dataclass(frozen=True, slots=True)
class SubnetUse:
    """How full a subnet is that nodes are in, as Azure counts it: addresses `used` by whomever, of `limit`."""

    name: str
    used: int
    limit: int
    near_since_s: float | None = None
    """Since when most of it is used (since 1970); None while it is not (`ipam.near_limit`)."""
    without_block: int = 0
    """Nodes whose pods wait for a block although as many addresses are free: they are scattered."""

    @property
    def is_full(self) -> bool:
        """It has no address left."""
        return self.used >= self.limit


def azure_document(use: AzureUse) -> dict[str, Any]:
    """`status.azure`."""
    return {"used": use.used, "outside": use.outside, "readTime": time_text(use.read_s)}


def subnet_document(use: SubnetUse) -> dict[str, Any]:
    """An item of `status.subnets`."""
    since = {"nearLimitSince": time_text(use.near_since_s)} if use.near_since_s is not None else {}
    scattered = {"nodesWithoutBlock": use.without_block} if use.without_block else {}
    return {"name": use.name, "used": use.used, "limit": use.limit, **since, **scattered}


def parse_azure_use(written: object) -> AzureUse | None:
    """`status.azure` as it was read; None where it was not."""
    document = mapping(written)
    read_s = seconds_of(document.get("readTime"))
    if read_s is None:
        return None
    used, outside = (whole(document.get(key), most=MOST_USED) for key in ("used", "outside"))
    return AzureUse(used, outside, read_s)


def parse_subnet_uses(written: object) -> tuple[SubnetUse, ...]:
    """`status.subnets` as it was read."""
    return tuple(map(_subnet, mappings(written)))[:MOST_SUBNETS]


def _subnet(document: Mapping[str, Any]) -> SubnetUse:
    used, limit = (whole(document.get(key), most=MOST_USED) for key in ("used", "limit"))
    since_s = seconds_of(document.get("nearLimitSince"))
    without_block = whole(document.get("nodesWithoutBlock"), most=MOST_USED)
    return SubnetUse(text(document.get("name")), used, limit, since_s, without_block)
