"""Reasons and messages about grants: why a node has less than it asked for, or nothing yet, and how a VNet stands.

Messages are for an engineer at night: the numbers that decide, and what to do. Reasons are for machines; the node's
agent passes both on to pods that wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from azure_cni.api.conditions import LONGEST_SENTENCE, NODE_AT_LIMIT, Condition, QuotaKind
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.errors import CloudNotFound, DecodeFailed
from azure_cni.ipam.instance_writes import OF_SUBSCRIPTION
from azure_cni.ipam.near_limit import not_throttled, room_left
from azure_cni.ipam.sizing import recalling_words
from azure_cni.model.text import addresses, counted, shortened, time_text
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.write_budget import JUDGED_MINUTES, MOST_ANSWERS

QUOTA_EXCEEDED: Final = "QuotaExceeded"
THROTTLED: Final = "Throttled"
WRITE_BUDGET: Final = "WriteBudget"
ENTRY_REFUSED: Final = "EntryRefused"
GRANTING: Final = "Granting"
VNET_UNCONFIRMED: Final = "VNetUnconfirmed"
USAGES_READ: Final = "Microsoft.Network/virtualNetworks/usages/read"

NO_SUCH_VNET: Final = frozenset({CloudNotFound.reason, DecodeFailed.reason})
"""Why Azure does not say how full a VNet is, where the VNet's ID is wrong."""

NOBODY: Final[Mapping[str, int]] = MappingProxyType({})

NODES_NAMED: Final = 8
NOTABLE_CHANGE_S: Final = 10.0
"""A time that changes by less is not written again: each change is a write for every node that waits."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reason and a sentence; both empty when there is nothing to say."""

    reason: str = ""
    message: str = ""
    not_before_s: float | None = None
    """Before this the request is not answered, seconds since 1970; None where no such time is known."""

    def status(self) -> dict[str, str | None]:
        """As fields of the pool's status; what is empty goes."""
        not_before = None if self.not_before_s is None else time_text(self.not_before_s)
        return {
            "grantReason": self.reason or None,
            "grantMessage": shortened(self.message, LONGEST_SENTENCE) or None,
            "grantNotBefore": not_before,
        }


NOTHING: Final = Explanation()


def on_answer(quota: VNetQuota, node: NodeRecord, granted: int, *, former: int, recalling: int = 0) -> Explanation:
    """Why the node is granted that many, if that is less than it asks for.

    `former`: how many addresses the ledger keeps of NICs that it had before; `recalling`: how many other nodes are to
    give back for its pods.
    """
    requested = node.view.request.count
    if granted >= requested:
        return NOTHING
    if former and granted + former >= quota.limits.per_node:
        return Explanation(
            NODE_AT_LIMIT,
            f"{granted} of {addresses(requested)} granted: one node may hold {quota.limits.per_node} "
            f"(spec.perNodeLimit of VNetQuota {quota.name}), and {counted(former, 'is', 'are')} on NICs that it had "
            "before; they are free when Azure shows that those NICs are gone or hold none of azure-cni: delete them",
        )
    if granted >= quota.limits.per_node:
        return Explanation(
            NODE_AT_LIMIT,
            f"{granted} of {addresses(requested)} granted: one node may hold {quota.limits.per_node} "
            f"(spec.perNodeLimit of VNetQuota {quota.name}); run fewer pods here, or raise it: "
            f"kubectl edit vnetquota {quota.name}",
        )
    short = f"{granted} of {addresses(requested)} granted: {_limit(quota)}"
    if recalling:
        return Explanation(QUOTA_EXCEEDED, f"{short}; {recalling_words(recalling, 'other nodes')}")
    return Explanation(QUOTA_EXCEEDED, f"{short}; {_more(quota)}")


def while_recalled(quota: VNetQuota) -> Explanation:
    """The node has all that it asks for, but that is no more than its pods need: it would get nothing more."""
    return Explanation(
        QUOTA_EXCEEDED,
        f"no spare addresses for now: {_limit(quota)}; idle ones of this node were taken back for pods of other nodes "
        f"(status.recall), so it asks for as many as its pods need; {_more(quota)}",
    )


def while_throttled(quota: VNetQuota, until_s: float) -> Explanation:
    """No NIC is written for now."""
    return Explanation(
        THROTTLED,
        f"Azure asked to wait: no NIC of VNetQuota {quota.name} is written before {time_text(until_s)}; "
        "the request is answered then, nothing needs to be done",
        not_before_s=until_s,
    )


def while_slowed(until_s: float) -> Explanation:
    """This node's NIC is not written for now; others' are."""
    return Explanation(
        THROTTLED,
        f"Azure asked this node's agent to wait: its NIC is not written before {time_text(until_s)}; "
        "the request is answered then, nothing needs to be done",
        not_before_s=until_s,
    )


def is_news(node: NodeRecord, explanation: Explanation) -> bool:
    """Whether the node's pool shows another reason, or a time that differs enough: a storm prolongs it many times."""
    if node.reason != explanation.reason:
        return True
    shown_s, until_s = node.not_before_s, explanation.not_before_s
    return until_s is not None and (shown_s is None or abs(shown_s - until_s) > NOTABLE_CHANGE_S)


def while_paced(quota: VNetQuota) -> Explanation:
    """It is not this node's turn yet."""
    writes = counted(quota.limits.writes_per_minute, "NIC write")
    return Explanation(
        WRITE_BUDGET,
        f"other nodes' NICs are written first: all together may make {writes} a minute "
        f"(spec.writesPerMinute of VNetQuota {quota.name}), and fewer for a while after Azure asked to wait; "
        "the request is answered in its turn, nothing needs to be done",
    )


def while_instances_wait() -> Explanation:
    """All instances of scale sets together had what Azure allows them."""
    return Explanation(
        WRITE_BUDGET,
        f"other instances of scale sets are written first: Azure allows {OF_SUBSCRIPTION.per_minute} such writes a "
        "minute in a subscription; the request is answered in its turn, nothing needs to be done",
    )


def while_spent() -> Explanation:
    """It had as much as one node gets in a minute."""
    return Explanation(
        WRITE_BUDGET,
        f"this node asked too often: one node gets {MOST_ANSWERS} answers a minute; "
        "the request is answered within a minute; if this goes on, the log of the node's agent says why it asks again",
    )


def on_refused_entry(name: str, why: str) -> Explanation:
    """The API server takes no ledger with this node's entry as it would have to be."""
    return Explanation(
        ENTRY_REFUSED,
        f"nothing more is granted: the API server refuses the entry of {name} in the VNet's ledger: {why}; other nodes "
        f"are granted. It is tried again in some minutes; kubectl delete nodeippool {name} starts it again",
    )


def refused_entries(names: Collection[str]) -> Condition:
    """Whether some nodes' entries are not in the ledger because the API server refuses them."""
    if not names:
        message = "the API server takes every node's entry"
        return Condition(QuotaKind.ENTRIES_REFUSED, holds=False, reason="AllWritten", message=message)
    shown = ", ".join(sorted(names)[:NODES_NAMED])
    more = f" and {len(names) - NODES_NAMED} more" if len(names) > NODES_NAMED else ""
    return Condition(
        QuotaKind.ENTRIES_REFUSED,
        holds=True,
        reason=ENTRY_REFUSED,
        message=f"the API server refuses the entries of {shown}{more}: their NodeIPPools say why "
        "(status.grantMessage); all other nodes are granted",
    )


def on_vnet_unconfirmed(vnet_id: str, *, why: str) -> Explanation:
    """Azure did not confirm to the controller that there is such a VNet."""
    return Explanation(
        VNET_UNCONFIRMED,
        f"nothing is granted: the node says that it is in {vnet_id}, and the controller cannot confirm that VNet: "
        f"{why}; give the controller's identity {USAGES_READ} on it, or create a VNetQuota for it by hand; the "
        "controller asks again each minute",
    )


def exhausted(
    quota: VNetQuota,
    *,
    short: int,
    nodes: int,
    uncovered: int,
    recalled: Mapping[str, int] = NOBODY,
    modest: int = 0,
) -> Condition:
    """Whether some nodes ask for more than there is: `nodes` of them, for `short` addresses.

    `uncovered` is how many addresses nodes hold that the ledger has no room for; `recalled`: how many idle ones nodes
    are to give back for pods that wait; `modest`: how many nodes ask for no spare addresses because of that.
    """
    back = ""
    if recalled:
        idle = counted(sum(recalled.values()), "idle address is", "idle addresses are")
        back = f"; {idle} taken back from {counted(len(recalled), 'node')} for pods that wait"
    if uncovered:
        what = counted(uncovered, "more address")
        message = f"nodes hold {what} than may be granted: {_limit(quota)}{back}; {_more(quota)}"
        return Condition(QuotaKind.EXHAUSTED, holds=True, reason="HeldBeyondLimit", message=message)
    if short:
        who, what = counted(nodes, "node asks", "nodes ask"), counted(short, "more address")
        message = f"{who} for {what} than may be granted: {_limit(quota)}{back}; {_more(quota)}"
        return Condition(QuotaKind.EXHAUSTED, holds=True, reason=QUOTA_EXCEEDED, message=message)
    if modest and quota.granted >= quota.grantable:
        who = counted(modest, "node does", "nodes do")
        message = f"nothing is left, and {who} without spare addresses (status.recall): {_limit(quota)}; {_more(quota)}"
        return Condition(QuotaKind.EXHAUSTED, holds=True, reason=QUOTA_EXCEEDED, message=message)
    return room_left(quota.status, quota.granted, quota.grantable, limit=_limit(quota))


def throttled(quota: VNetQuota, *, writes: int | None) -> Condition:
    """Whether Azure asked to wait. `writes`: how many NIC writes were granted in the last ten minutes, if known."""
    until_s = quota.throttled_until_s
    if until_s is None:
        return not_throttled(quota.status, writes, JUDGED_MINUTES * quota.limits.writes_per_minute)
    return Condition(
        QuotaKind.THROTTLED,
        holds=True,
        reason=THROTTLED,
        message=f"Azure asked to wait: no NIC is written before {time_text(until_s)}",
    )


def usage(quota: VNetQuota, silence: Explanation) -> Condition:
    """Whether Azure says how full the VNet is. Without times that go on, or each round would be a write."""
    if not silence.reason:
        message = "Azure says how many addresses of the VNet are in use (status.azure); what others use is not granted"
        return Condition(QuotaKind.USAGE_KNOWN, holds=True, reason="UsageRead", message=message)
    others = "nobody else used any"
    if quota.azure:
        others = f"others used {quota.azure.outside}, as at {time_text(quota.azure.read_s)}"
    return Condition(
        QuotaKind.USAGE_KNOWN,
        holds=False,
        reason=silence.reason,
        message=f"{silence.message}; until that works addresses are granted as if {others}; the controller asks again "
        f"automatically, for which its identity needs {USAGES_READ} on the VNet",
    )


def ready(quota: VNetQuota, others: Iterable[Condition]) -> Condition:
    """Whether nodes are granted what they ask for; `others` are the quota's other conditions as they are now.

    The first thing that is wrong gives the reason: what people must fix before what only takes time. That Azure does
    not say how full the VNet is keeps nobody from a grant, unless there is no such VNet: an installation works without
    that permission, so it only shows in the reason.
    """
    found = {one.kind: one for one in others}
    silence = found[QuotaKind.USAGE_KNOWN]
    wrong = [found[kind] for kind in (QuotaKind.ENTRIES_REFUSED, QuotaKind.EXHAUSTED) if found[kind].holds]
    wrong += [silence] if not silence.holds and silence.reason in NO_SUCH_VNET else []
    wrong += [found[QuotaKind.THROTTLED]] if found[QuotaKind.THROTTLED].holds else []
    if wrong:
        return Condition(QuotaKind.READY, holds=False, reason=wrong[0].reason, message=wrong[0].message)
    message = f"nodes are granted what they ask for: {_limit(quota)}"
    if not silence.holds:
        return Condition(
            QuotaKind.READY, holds=True, reason=silence.reason, message=f"{message}; but {silence.message}"
        )
    return Condition(QuotaKind.READY, holds=True, reason=GRANTING, message=message)


def _limit(quota: VNetQuota) -> str:
    outside = quota.azure.outside if quota.azure else 0
    taken = [f"{quota.limits.reserved} reserved"] if quota.limits.reserved else []
    taken += [f"{outside} used by others in the VNet"] if outside else []
    off = f", less {' and '.join(taken)}" if taken else ""
    return f"VNetQuota {quota.name} allows {quota.limits.limit}{off}, and {counted(quota.granted, 'is', 'are')} granted"


def _more(quota: VNetQuota) -> str:
    return f"remove pods or nodes, or raise spec.limit: kubectl edit vnetquota {quota.name}"
