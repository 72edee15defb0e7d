"""The egress of a node whose administrator allows no pod its own address."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address

from azure_cni.api.egress import EgressNamespaces
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.pod_egress import PodEgress
from azure_cni.node.stored_ledger import StoredLedger
from fakes.events import FakeEvents


async def nothing_to_settle(_: Collection[IPv4Address]) -> None:
    """The kernel has nobody's address in the set, and nobody asks for that."""


def node_egress(stored: StoredLedger, demand: Demand) -> PodEgress:
    """Every pod leaves the VNet with the node's address."""
    return PodEgress(
        stored=stored, demand=demand, events=FakeEvents(), allowed=EgressNamespaces(), settle=nothing_to_settle
    )
