"""Who has an address now, as the API server shows it, and who had it, as the nodes' audit trails know."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address
from typing import Final

import msgspec

from azure_cni.api.audit_reports import AuditReport, TenureReport
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.pod_diagnosis import listed_addresses
from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import counted, few, seconds_of, time_text

AHEAD_S: Final = 60.0
"""By so much the clocks of nodes may be ahead of this computer's."""


class PresentHolder(msgspec.Struct, frozen=True, rename="camel"):
    """One who has it. `kind`: `pod`, `node` (a primary address: the NIC's, or that of the node's own NIC where its pool
    is on another), `pool` (for pods, and none has it) or `excluded` (on the NIC, for no pod).
    """

    kind: str
    name: str
    node: str
    nic: str = ""
    config: str = ""


class History(msgspec.Struct, frozen=True, rename="camel"):
    """Who had an address, by the audit trails of all nodes. `at`: the time that was asked about; "" for all times.

    `unknown`: nodes and times of which nobody can say anything, in words.
    """

    at: str
    tenures: list[TenureReport]
    unknown: list[str]


class Holders(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `who`. `verdict` is one sentence."""

    address: str
    verdict: str
    present: list[PresentHolder]
    unread: list[str]
    history: History | None = None
    unknown: bool = False
    """Nobody was found who has it, or had it then, and not everybody who may have could be read or asked."""

    @property
    def contradicts(self) -> bool:
        """More than one pod has it, or a pod that is not on the node whose NIC has it."""
        pods = [one for one in self.present if one.kind == "pod"]
        nics = {one.node for one in self.present if one.nic}
        return len(pods) > 1 or any(nics and one.node not in nics for one in pods)


def parse_address(text: str, *, ipv6: bool = False) -> str:
    """ConfigInvalid where it is no IPv4 address, or with `ipv6` one of either family."""
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if isinstance(address, IPv4Address) or (ipv6 and address is not None):
        return str(address)
    if address is not None:
        raise ConfigInvalid(
            f"cannot look for {text!r}: it is not an IPv4 address; a pod's IPv6 address goes with one, and only that "
            "is written down: ask for it"
        )
    raise ConfigInvalid(f"cannot look for {text!r}: it is not an IPv4 address such as 10.240.0.36")


def find_holders(address: str, evidence: ClusterEvidence) -> Holders:
    """Everybody of whom the API server says so. Of IPv6 it shows what pods have, and not what NICs hold."""
    present: list[PresentHolder] = []
    nics = {pool.name: (pool.nic_id, listed_addresses(pool)) for pool in evidence.pools}
    for pod in evidence.pods:
        if pod.holds_address and address in pod.addresses:
            nic, listed = nics.get(pod.node, ("", {}))
            counted_as = pod.addresses[0] if _is_ipv6(address) else address  # NICs are listed by addresses of IPv4
            on_nic, config = counted_as in listed, listed.get(counted_as, "")
            present.append(PresentHolder("pod", pod.full_name, pod.node, nic if on_nic else "", config))
    held = {one.node for one in present if one.nic}
    for pool in evidence.pools:
        nic, listed = nics[pool.name]
        if address in listed and pool.name not in held:
            present.append(PresentHolder("pool", pool.name, pool.name, nic, listed[address]))
        if pool.uplink is not None and str(pool.uplink[1]) == address:
            present.append(PresentHolder("node", pool.name, pool.name, nic, "primary"))
        if pool.node_ip is not None and str(pool.node_ip) == address:  # of the VM's primary NIC, which no pool names
            present.append(PresentHolder("node", pool.name, pool.name))
        excluded = pool.status.get("excluded")
        present += [
            PresentHolder("excluded", pool.name, pool.name, nic, str(entry))
            for entry in (excluded if isinstance(excluded, list) else [])
            if f" {address}:" in f" {entry}"
        ]
    verdict, unread = _verdict(address, present, knows_nics=evidence.knows("pools")), list(evidence.unread)
    unknown = not evidence.knows("pods", "pools") and not any(one.kind in {"pod", "node"} for one in present)
    if unknown:
        verdict = f"it is not known who has {address}: {few(unread, between='; ', last='; and ')}"
    return Holders(address, verdict, present, unread, unknown=unknown)


def _is_ipv6(address: str) -> bool:
    return ":" in address


def with_history(found: Holders, trails: Sequence[AuditReport], unasked: Sequence[str], *, at: str = "") -> Holders:
    """The answer with what the trails know: all of it, or of one time (RFC 3339)."""
    at_s = seconds_of(at) if at else None
    tenures = sorted(_by_their_own_nodes(trails), key=lambda one: one.begin)
    chosen = [one for one in tenures if at_s is None or _may_have_had(one, at_s)]
    unknown = [*unasked, *(words for trail in trails for words in _unknown(trail, at_s))]
    answer = msgspec.structs.replace(found, history=History(at, chosen, unknown))
    if at_s is None:
        return answer
    verdict = _past_verdict(found.address, chosen, unknown, at_s)
    return msgspec.structs.replace(answer, verdict=verdict, unknown=bool(unknown) and not chosen)


def _by_their_own_nodes(trails: Sequence[AuditReport]) -> list[TenureReport]:
    """Of each node what its own trail says, as far as that reaches back.

    A VM whose disk was made from another node's has a copy of that one's trail, in which whoever had an address when it
    was made seems to have given it back.
    """
    begins = {trail.node: trail.begins for trail in trails if trail.begins and not trail.error}

    def is_copy(one: TenureReport) -> bool:
        return one.recorded_by in begins and begins[one.recorded_by] <= one.begin

    return [one for trail in trails for one in trail.tenures if not is_copy(one)]


def parse_time(text: str, *, now_s: float) -> str:
    """RFC 3339; ConfigInvalid where it is no time, or one that has not come: of that no trail knows anything."""
    at_s = seconds_of(text)
    if at_s is None:
        raise ConfigInvalid(f"cannot look at {text!r}: it is not a time such as 2026-11-28T06:19:00Z")
    if at_s > now_s + AHEAD_S:
        raise ConfigInvalid(
            f"cannot look at {text!r}: {time_text(at_s)} has not come yet, it is {time_text(now_s)} here; a time "
            "without a zone is UTC"
        )
    return time_text(at_s)


def _may_have_had(one: TenureReport, at_s: float) -> bool:
    """Times are whole seconds, cut off: what ended within a second was still so when that second began."""
    begin_s, end_s = seconds_of(one.begin), seconds_of(one.end)
    return (begin_s is None or begin_s <= at_s) and (end_s is None or at_s <= end_s)


def _surely_had(one: TenureReport, at_s: float) -> bool:
    until_s = seconds_of(one.end_not_before)
    return until_s is None or at_s <= until_s


def _unknown(trail: AuditReport, at_s: float | None) -> list[str]:
    """Why this node's trail does not know of that time; of no time in particular, only why it knows nothing."""
    if trail.error:
        return [f"node {trail.node}: {trail.error}"]
    if at_s is None:
        return []
    begins_s = seconds_of(trail.begins)
    if begins_s is None or at_s < begins_s:
        return [f"node {trail.node}: its audit trail begins at {trail.begins or 'no time yet'}"]
    within = [one for one in trail.holes if (seconds_of(one.begin) or 0.0) < at_s <= (seconds_of(one.end) or 0.0)]
    return [f"node {trail.node}: its audit trail has a hole from {one.begin} to {one.end}" for one in within]


def _past_verdict(address: str, chosen: Sequence[TenureReport], unknown: Sequence[str], at_s: float) -> str:
    at = time_text(at_s)
    sure = [one for one in chosen if _surely_had(one, at_s)]
    names = few([f"{one.holder} on node {one.place}" for one in sure or chosen])
    if sure:
        return f"{address} was the address of {names} at {at}"
    if chosen:
        return f"{address} may still have been the address of {names} at {at}: nobody saw when it was given back"
    if unknown:
        return f"it is not known who had {address} at {at}: {few(list(unknown), between='; ', last='; and ')}"
    return f"no pod had {address} at {at}"


def _verdict(address: str, present: list[PresentHolder], *, knows_nics: bool) -> str:
    pods = [one for one in present if one.kind == "pod"]
    if len(pods) > 1:
        lost = [one.name for one in pods if not one.nic and knows_nics]
        advice = f"; delete {few(lost)}, whose node's NIC has not got it" if lost else ""
        have = counted(len(pods), "pod has", "pods have")
        return f"{have} {address}: {few([one.name for one in pods])}{advice}"
    if pods:
        where = "" if pods[0].nic or not knows_nics else "; the NIC of that node has not got it, as its agent last said"
        return f"{address} is the address of pod {pods[0].name} on node {pods[0].node}{where}"
    if not present:
        return f"no pod{'' if _is_ipv6(address) else ', node or pool'} of this cluster has {address}"
    one = present[0]
    if one.kind == "node":
        return f"{address} is the primary address of node {one.node}"
    if one.kind == "excluded":
        return f"{address} is on the NIC of node {one.node}, for no pod: {one.config}"
    return f"{address} is on the NIC of node {one.node} for pods, and no pod has it now"
