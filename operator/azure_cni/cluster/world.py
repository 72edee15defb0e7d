"""What surrounds a controller at work: its ports, and what it was told at start."""

from __future__ import annotations

from dataclasses import dataclass, field

from azure_cni.api.quota import Limits
from azure_cni.cluster.ports import Clock, Observer, Pools, Quotas, VNets


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """From the chart. `defaults` are for new quotas only: one that exists is people's."""

    defaults: Limits = field(default_factory=Limits)
    reclaim_s: float = 300.0
    """How often entries without a pool are looked into."""
    usages_s: float = 300.0
    """How often Azure is asked how full the VNet is."""


@dataclass(frozen=True, slots=True)
class ClusterWorld:
    """The ports."""

    quotas: Quotas
    pools: Pools
    vnets: VNets
    clock: Clock
    observer: Observer
