"""What the plugin says of itself to people: `azure-cni docker status`. Pure.

Without an API server there is no object to describe, so the same fields and conditions go by the plugin's socket, as a
document, and the command makes text of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import mapping, mappings, text
from azure_cni.docker.container_endpoints import DELETED, REQUESTED
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.ledger import Ledger
from azure_cni.model.nic import Address
from azure_cni.node.state import NodeState

COUNTS: Final = ("allocated", "assigned", "free", "cooling", "granted", "target")
SHORT: Final = 12
"""As much of an ID as `docker network ls` shows."""

_STAGES: Final = {REQUESTED: "requested", DELETED: "deleted"}


def document(
    pool: NodeIPPool, ledger: Ledger, state: NodeState, *, networks: Sequence[str], unready: str
) -> dict[str, Any]:
    """All of it; `unready` says why no container can start, "" when one can. Counts are of this moment."""
    status, counts = pool.status, ledger.counts()
    numbers = (counts.allocated, counts.assigned, counts.free, counts.cooling, state.granted, state.target)
    return {
        "node": pool.name,
        "ready": not unready,
        "why": unready,
        "nic": pool.nic_id,
        "vnet": pool.vnet_id,
        "primaryIP": text(status.get("primaryIP")),
        "addresses": dict(zip(COUNTS, numbers, strict=True)),
        "conditions": [dict(condition) for condition in mappings(status.get("conditions"))],
        "networks": list(networks),
        "endpoints": [_endpoint(slot.address, slot.holder) for slot in ledger.slots if slot.holder is not None],
    }


def _endpoint(address: Address, holder: Holder) -> dict[str, str]:
    network, endpoint, _ = holder.sandbox
    return {
        "address": str(address),
        "network": "" if network in _STAGES else network,
        "endpoint": endpoint,
        "state": _STAGES.get(network, "joined" if holder.netns else "created"),
        "sandbox": holder.netns,
    }


def lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """For a terminal; any document will do."""
    ready = "ready" if shown.get("ready") else f"not ready: {text(shown.get('why'))}"
    yield f"{text(shown.get('node')) or 'this VM'}: {ready}"
    for name, key in (("NIC", "nic"), ("VNet", "vnet"), ("primary address", "primaryIP")):
        yield f"  {name}: {text(shown.get(key)) or 'not known yet'}"
    counts = mapping(shown.get("addresses"))
    yield "  addresses: " + ", ".join(f"{counts.get(name, 0)} {name}" for name in COUNTS)
    yield ""
    yield from table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        [tuple(text(one.get(key)) for key in ("type", "status", "reason", "message")) for one in _listed(shown)],
    )
    yield ""
    yield from table(
        ("ADDRESS", "STATE", "NETWORK", "ENDPOINT"),
        [
            (text(one.get("address")), text(one.get("state")), short(one.get("network")), short(one.get("endpoint")))
            for one in mappings(shown.get("endpoints"))
        ],
    )


def _listed(shown: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return mappings(shown.get("conditions"))


def short(identifier: object) -> str:
    """As much of an ID as Docker shows; "-" for none."""
    return text(identifier)[:SHORT] or "-"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Its lines, in columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
