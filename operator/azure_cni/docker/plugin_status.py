"""What the plugin says of itself to people: `azure-cni docker status`. Pure.

Without an API server there is no object to describe, so the same fields and conditions go by the plugin's socket, as a
document, and the command makes text of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Final

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import mapping, mappings, text
from azure_cni.docker.container_endpoints import DELETED, REQUESTED
from azure_cni.docker.engine_view import EngineReport
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.ledger import Ledger
from azure_cni.model.text import counted
from azure_cni.node.state import NodeState

COUNTS: Final = ("allocated", "assigned", "free", "cooling", "granted", "target")
SHORT: Final = 12
"""As much of an ID as `docker network ls` shows."""

NOT_ASKED: Final = "not asked yet"
_STAGES: Final = {REQUESTED: "requested", DELETED: "deleted"}


def document(
    pool: NodeIPPool,
    ledger: Ledger,
    state: NodeState,
    *,
    networks: Sequence[str],
    unready: str,
    engine: EngineReport | None = None,
) -> dict[str, Any]:
    """All of it; `unready` says why no container can start, "" when one can. Counts are of this moment.

    `engine`: the comparison with Docker's own lists; None where they are not read.
    """
    names = engine.view.containers if engine is not None and engine.view is not None else {}
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
        "docker": _engine(engine),
        "endpoints": [_endpoint(slot.address, slot.holder, names) for slot in ledger.slots if slot.holder is not None],
    }


def _engine(engine: EngineReport | None) -> dict[str, Any]:
    if engine is None:
        return {}
    if engine.view is None:
        return {"error": engine.error or NOT_ASKED}
    return {"containers": engine.view.count, "ageSeconds": round(engine.age_s), "error": engine.error}


def _endpoint(address: IPv4Address, holder: Holder, names: Mapping[str, str]) -> dict[str, str]:
    network, endpoint, _ = holder.sandbox
    return {
        "address": str(address),
        "network": "" if network in _STAGES else network,
        "endpoint": endpoint,
        "container": names.get(endpoint, ""),
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
    yield from _engine_lines(mapping(shown.get("docker")))
    yield "  addresses: " + ", ".join(f"{counts.get(name, 0)} {name}" for name in COUNTS)
    yield ""
    yield from table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        [tuple(text(one.get(key)) for key in ("type", "status", "reason", "message")) for one in _listed(shown)],
    )
    yield ""
    yield from table(
        ("ADDRESS", "STATE", "NETWORK", "ENDPOINT", "CONTAINER"),
        [
            (
                text(one.get("address")),
                text(one.get("state")),
                short(one.get("network")),
                short(one.get("endpoint")),
                text(one.get("container")) or "-",
            )
            for one in mappings(shown.get("endpoints"))
        ],
    )


def _engine_lines(docker: Mapping[str, Any]) -> Iterator[str]:
    """What Docker says of its containers, or that it says nothing."""
    if error := text(docker.get("error")):
        yield f"  Docker: its containers cannot be listed: {error}"
    elif docker:
        count = docker.get("containers")
        containers = counted(count if isinstance(count, int) else 0, "container")
        yield f"  Docker: {containers}, listed {docker.get('ageSeconds', 0)} s ago"


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
