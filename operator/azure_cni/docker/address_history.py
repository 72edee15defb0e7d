"""Who has and who had an address of this VM: `azure-cni docker who`. Pure.

The plugin's status says who has it now, and the audit trail who had it when. Docker tells its drivers of endpoints and
networks, not of containers: these are always named, and the container where Docker's own lists had it while it lived.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azure_cni.api.audit_reports import AuditReport, TenureReport
from azure_cni.api.reading import mappings, text
from azure_cni.diagnose.holders import Holders, with_history
from azure_cni.docker.container_endpoints import DELETED, REQUESTED
from azure_cni.docker.plugin_status import short, table
from azure_cni.model.text import few


@dataclass(frozen=True, slots=True)
class AddressHistory:
    """The answer. `verdict` is one sentence, and `gaps` are times of which nobody can say anything, in words.

    `unknown`: nobody is known to have had it then, and that is all there is to say.
    """

    verdict: str
    tenures: Sequence[TenureReport]
    gaps: Sequence[str]
    unknown: bool


def find(address: str, shown: Mapping[str, Any], trail: AuditReport, *, at: str) -> AddressHistory:
    """All who had it, or whoever had it `at` a time (RFC 3339, "" for all); `shown` is the status document."""
    seen = with_history(Holders(address, "", [], []), [trail], (), at=at).history
    tenures = [one for one in seen.tenures if one.network != REQUESTED] if seen is not None else []
    gaps = list(seen.unknown) if seen is not None else []
    if not at:
        return AddressHistory(_present(address, shown), tenures, gaps, unknown=False)
    verdict = _past(address, tenures, gaps, at)
    return AddressHistory(verdict, tenures, gaps, unknown=bool(gaps) and not tenures)


def lines(found: AddressHistory) -> Iterator[str]:
    """For a terminal."""
    yield found.verdict
    if found.tenures:
        yield ""
        rows = [
            (one.begin, _end(one), short(_network(one)), short(one.container), one.pod or "-") for one in found.tenures
        ]
        yield from table(("FROM", "TO", "NETWORK", "ENDPOINT", "CONTAINER"), rows)
    yield from (f"not known: {words}" for words in found.gaps)


def _present(address: str, shown: Mapping[str, Any]) -> str:
    if shown.get("primaryIP") == address:
        return f"{address} is the primary address of this VM"
    for one in mappings(shown.get("endpoints")):
        if one.get("address") == address:
            state = text(one.get("state"))
            if not one.get("network"):
                return f"{address} is held for a container that starts or ends ({state})"
            whose = _whose(text(one.get("container")), one.get("endpoint"), one.get("network"))
            return f"{address} is the address of {whose} ({state})"
    return f"no container of this VM has {address} now"


def _past(address: str, tenures: Sequence[TenureReport], gaps: Sequence[str], at: str) -> str:
    whose = few([_whose(one.pod, one.container, _network(one)) for one in tenures])
    if any(not one.end_not_before or at <= one.end_not_before for one in tenures):
        return f"{address} was the address of {whose} at {at}"
    if tenures:
        return f"{address} may still have been the address of {whose} at {at}: nobody saw when it was given back"
    if gaps:
        return f"it is not known who had {address} at {at}"
    return f"no container of this VM had {address} at {at}"


def _whose(container: str, endpoint: object, network: object) -> str:
    ids = f"endpoint {short(endpoint)} of network {short(network)}"
    return f"container {container}, {ids}" if container else ids


def _network(one: TenureReport) -> str:
    """After a hole that a container ended in, only that it ended is known."""
    return "" if one.network == DELETED else one.network


def _end(one: TenureReport) -> str:
    if not one.end:
        return f"not known, after {one.end_not_before}" if one.end_not_before else "now"
    return f"between {one.end_not_before} and {one.end}" if one.end_not_before else one.end
