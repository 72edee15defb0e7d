"""What people are told of grants: why a node has less than it asked for, or nothing yet, and how a VNet stands.

For a tired engineer at night: the numbers that decide, and what to do. Reasons are words for machines; the node's
agent passes them on to pods that wait.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.api import times
from azure_cni.api.conditions import NODE_AT_LIMIT
from azure_cni.api.plurals import addresses, counted
from azure_cni.api.quota import LONGEST_NIC_LABEL, Fact, Finding, LedgerEntry, VNetQuota
from azure_cni.cluster.census import Member
from azure_cni.cluster.fairness import MOST_ANSWERS

QUOTA_EXCEEDED: Final = "QuotaExceeded"
THROTTLED: Final = "Throttled"
WRITE_BUDGET: Final = "WriteBudget"
NIC_UNKNOWN: Final = "NicUnknown"
NIC_CHANGED: Final = "NicChanged"
ENTRY_REFUSED: Final = "EntryRefused"
VNET_UNCONFIRMED: Final = "VNetUnconfirmed"
NIC_READ: Final = "Microsoft.Network/networkInterfaces/read"
USAGES_READ: Final = "Microsoft.Network/virtualNetworks/usages/read"

NODES_NAMED: Final = 8
WORTH_TELLING_S: Final = 10.0
"""A wait that is longer or shorter by less is not told anew: each time is a write for every node that waits."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A reason and a sentence; both empty when there is nothing to say."""

    reason: str = ""
    message: str = ""

    def status(self) -> dict[str, str | None]:
        """As fields of the pool's status; what is empty goes."""
        return {"grantReason": self.reason or None, "grantMessage": self.message or None}


NOTHING: Final = Remark()


def on_answer(quota: VNetQuota, member: Member, granted: int, *, former: int) -> Remark:
    """Why the node is granted so many, if that is less than it asks for.

    `former`: how many addresses the ledger keeps of NICs that it had before.
    """
    requested = member.view.request.count
    if granted >= requested:
        return NOTHING
    if former and granted + former >= quota.limits.per_node:
        return Remark(
            NODE_AT_LIMIT,
            f"{granted} of {addresses(requested)} granted: one node may hold {quota.limits.per_node} "
            f"(spec.perNodeLimit of VNetQuota {quota.name}), and {counted(former, 'is', 'are')} on NICs that it had "
            "before; they are free when Azure shows that those NICs are gone or hold none of azure-cni: delete them",
        )
    if granted >= quota.limits.per_node:
        return Remark(
            NODE_AT_LIMIT,
            f"{granted} of {addresses(requested)} granted: one node may hold {quota.limits.per_node} "
            f"(spec.perNodeLimit of VNetQuota {quota.name}); run fewer pods here, or raise it: "
            f"kubectl edit vnetquota {quota.name}",
        )
    return Remark(QUOTA_EXCEEDED, f"{granted} of {addresses(requested)} granted: {_limit(quota)}; {_more(quota)}")


def while_throttled(quota: VNetQuota, until_s: float) -> Remark:
    """No NIC is written for now."""
    return Remark(
        THROTTLED,
        f"Azure asked to wait: no NIC of VNetQuota {quota.name} is written before {times.text(until_s)}; "
        "the request is answered then, nothing needs to be done",
    )


def while_slowed(until_s: float) -> Remark:
    """This node's NIC is not written for now; others' are."""
    return Remark(
        THROTTLED,
        f"Azure asked this node's agent to wait: its NIC is not written before {times.text(until_s)}; "
        "the request is answered then, nothing needs to be done",
    )


def is_news(member: Member, remark: Remark) -> bool:
    """Whether its pool shows another reason, or another time. Some seconds are none: a storm prolongs it many times."""
    if member.reason != remark.reason:
        return True
    told_s, until_s = _time_in(member.message), _time_in(remark.message)
    return until_s is not None and (told_s is None or abs(told_s - until_s) > WORTH_TELLING_S)


def _time_in(message: str) -> float | None:
    told = re.search(r" written before (\S+);", message)
    return times.seconds(told[1]) if told else None


def while_paced(quota: VNetQuota) -> Remark:
    """It is not this node's turn yet."""
    writes = counted(quota.limits.writes_per_minute, "NIC write")
    return Remark(
        WRITE_BUDGET,
        f"other nodes' NICs are written first: all together may make {writes} a minute "
        f"(spec.writesPerMinute of VNetQuota {quota.name}), and fewer for a while after Azure asked to wait; "
        "the request is answered in its turn, nothing needs to be done",
    )


def while_spent() -> Remark:
    """It had as much as one node gets in a minute."""
    return Remark(
        WRITE_BUDGET,
        f"this node asked too often: one node gets {MOST_ANSWERS} answers a minute; "
        "the request is answered within a minute; if this goes on, the log of the node's agent says why it asks again",
    )


def on_unwritable(member: Member) -> Remark:
    """The ledger has no room for such a name, and Azure has none such."""
    return Remark(
        NIC_UNKNOWN,
        f"nothing is granted: status.nicID of NodeIPPool {member.name} is no NIC of Azure's: RESOURCE-GROUP/NAME has "
        f"{counted(len(member.nic), 'character')} where {LONGEST_NIC_LABEL} are possible; let the node's "
        f"agent make the pool again: kubectl delete nodeippool {member.name}",
    )


def on_refused_entry(name: str, why: str) -> Remark:
    """The API server takes no ledger with this node's entry as it would have to be."""
    return Remark(
        ENTRY_REFUSED,
        f"nothing more is granted: the API server refuses the entry of {name} in the VNet's ledger: {why}; other nodes "
        f"are granted. It is tried again in some minutes; kubectl delete nodeippool {name} starts it again",
    )


def refused_entries(names: Collection[str]) -> Finding:
    """Whether some nodes' entries are not in the ledger because the API server refuses them."""
    if not names:
        message = "the API server takes every node's entry"
        return Finding(Fact.ENTRIES_REFUSED, holds=False, reason="AllWritten", message=message)
    shown = ", ".join(sorted(names)[:NODES_NAMED])
    more = f" and {len(names) - NODES_NAMED} more" if len(names) > NODES_NAMED else ""
    return Finding(
        Fact.ENTRIES_REFUSED,
        holds=True,
        reason=ENTRY_REFUSED,
        message=f"the API server refuses the entries of {shown}{more}: their NodeIPPools say why "
        "(status.grantMessage); all other nodes are granted",
    )


def on_vnet_unconfirmed(vnet_id: str, *, why: str) -> Remark:
    """Azure did not confirm to the controller that there is such a VNet."""
    return Remark(
        VNET_UNCONFIRMED,
        f"nothing is granted: the node says that it is in {vnet_id}, and the controller cannot confirm that VNet: "
        f"{why}; give the controller's identity {USAGES_READ} on it, or create a VNetQuota for it by hand; the "
        "controller asks again each minute",
    )


def on_nic_unseen(member: Member, *, why: str = "Azure is asked in a moment") -> Remark:
    """Its pool names a NIC that is new to the ledger, and that Azure did not show."""
    return Remark(
        NIC_CHANGED,
        f"nothing is granted: the NIC of the node is another than before, and cannot be confirmed as {member.nic}: "
        f"{why}; the controller asks again each minute, for which its identity needs {NIC_READ} on the NIC",
    )


def on_nic_changing(member: Member) -> Remark:
    """It changed within the minute."""
    return Remark(
        NIC_CHANGED,
        f"nothing is granted: the NIC of the node changed more than once in a minute, now to {member.nic}; it is "
        "checked again within a minute; two VMs may have the name of this node",
    )


def on_former(member: Member, former: Mapping[str, LedgerEntry]) -> Remark:
    """It had as many NICs before as the ledger keeps."""
    nics = ", ".join(sorted(entry.nic for entry in former.values()))
    return Remark(
        NIC_CHANGED,
        f"nothing is granted for {member.nic}: the node had {len(former)} other NICs before whose addresses are still "
        f"reserved ({nics}); they are free when Azure shows that those NICs are gone or hold none of azure-cni: delete "
        "them, or let the node go back to one of them",
    )


def exhausted(quota: VNetQuota, *, short: int, nodes: int, uncovered: int) -> Finding:
    """Whether some nodes ask for more than there is: `nodes` of them, for `short` addresses.

    `uncovered` is how many addresses nodes hold that the ledger has no room for.
    """
    if uncovered:
        what = counted(uncovered, "more address")
        message = f"nodes hold {what} than may be granted: {_limit(quota)}; {_more(quota)}"
        return Finding(Fact.EXHAUSTED, holds=True, reason="HeldBeyondLimit", message=message)
    if short:
        who, what = counted(nodes, "node asks", "nodes ask"), counted(short, "more address")
        message = f"{who} for {what} than may be granted: {_limit(quota)}; {_more(quota)}"
        return Finding(Fact.EXHAUSTED, holds=True, reason=QUOTA_EXCEEDED, message=message)
    return Finding(
        Fact.EXHAUSTED, holds=False, reason="RoomLeft", message=f"all that is asked for fits: {_limit(quota)}"
    )


def throttled(until_s: float | None) -> Finding:
    """Whether Azure asked to wait."""
    if until_s is None:
        return Finding(Fact.THROTTLED, holds=False, reason="NotThrottled", message="Azure does not ask to wait")
    return Finding(
        Fact.THROTTLED,
        holds=True,
        reason=THROTTLED,
        message=f"Azure asked to wait: no NIC is written before {times.text(until_s)}",
    )


def usage(quota: VNetQuota, silence: Remark) -> Finding:
    """Whether Azure says how full the VNet is. Without times that go on, or each round would be a write."""
    if not silence.reason:
        message = "Azure says how many addresses of the VNet are in use (status.azure); what others use is not granted"
        return Finding(Fact.USAGE_KNOWN, holds=True, reason="UsageRead", message=message)
    others = "nobody else used any"
    if quota.azure:
        others = f"others used {quota.azure.outside}, as at {times.text(quota.azure.read_s)}"
    return Finding(
        Fact.USAGE_KNOWN,
        holds=False,
        reason=silence.reason,
        message=f"{silence.message}; until that works addresses are granted as if {others}; the controller asks again "
        f"automatically, for which its identity needs {USAGES_READ} on the VNet",
    )


def _limit(quota: VNetQuota) -> str:
    outside = quota.azure.outside if quota.azure else 0
    taken = [f"{quota.limits.reserved} reserved"] if quota.limits.reserved else []
    taken += [f"{outside} used by others in the VNet"] if outside else []
    off = f", less {' and '.join(taken)}" if taken else ""
    return f"VNetQuota {quota.name} allows {quota.limits.limit}{off}, and {counted(quota.granted, 'is', 'are')} granted"


def _more(quota: VNetQuota) -> str:
    return f"remove pods or nodes, or raise spec.limit: kubectl edit vnetquota {quota.name}"
