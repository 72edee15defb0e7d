"""A VNetQuota's status, without ledger and budget: its sums and conditions, and when they are written. Pure.

One condition says which permission in Azure the controller lacks, and what the cluster does without meanwhile. No grant
depends on any of them. What a node's own identity lacks is said by its NodeIPPool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from azure_cni.api import conditions, quota_usage
from azure_cni.api.conditions import Condition, QuotaKind
from azure_cni.api.reading import mappings
from azure_cni.api.vnet_quota import Draft, LedgerEntry, VNetQuota
from azure_cni.errors import AccessDenied
from azure_cni.model.text import addresses, time_text
from azure_cni.quota import ledger_changes, messages, subnets
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord


def status_fields(
    quota: VNetQuota,
    nodes: Sequence[NodeRecord],
    *,
    silence: Explanation,
    now_s: float,
    refused: Collection[str] = (),
    denied: Sequence[str] = (),
    recalled: Mapping[str, int] = messages.NOBODY,
    recalled_in_subnets: int = 0,
    writes: int | None = None,
) -> dict[str, Any]:
    """The sums and conditions of a quota whose ledger and limits are as `quota` has them; all but the budget.

    `silence`: why Azure does not say how full the VNet is. `refused`: nodes whose entries the API server refuses.
    `denied`: what else Azure denied the controller, in words. `recalled`: how many idle addresses which nodes are to
    give back for the quota, `recalled_in_subnets`: how many in full subnets. `writes`: how many NIC writes were granted
    in the last ten minutes, if that is known.
    """
    former = ledger_changes.held_by_former(quota.entries)
    short = [count for node in nodes if (count := _short(quota, node, former[node.name]))]
    throttled_until_s = quota.throttled_until_s
    current = (
        messages.exhausted(
            quota,
            short=sum(short),
            nodes=len(short),
            uncovered=uncovered(quota, nodes),
            recalled=recalled,
            modest=sum(node.recall is not None for node in nodes),
        ),
        messages.throttled(quota, writes=writes),
        subnets.subnet_full(quota, recalled=recalled_in_subnets, silent=bool(silence.reason)),
        messages.usage(quota, silence),
        messages.refused_entries(refused),
        permission_condition(quota, silence, denied),
    )
    before = mappings(quota.status.get("conditions"))
    return {
        "granted": quota.granted,
        "assigned": sum(node.assigned for node in nodes),
        "nodes": sum(1 for entry in quota.entries.values() if entry.count),
        "azure": quota_usage.azure_document(quota.azure) if quota.azure else None,
        "subnets": [quota_usage.subnet_document(use) for use in quota.subnets] or None,
        "throttledUntil": time_text(throttled_until_s) if throttled_until_s else None,
        "conditions": conditions.merge(
            before, (messages.ready(quota, current), *current), now=time_text(now_s), generation=quota.generation
        ),
        "observedGeneration": quota.generation,
    }


def _short(quota: VNetQuota, node: NodeRecord, former: int) -> int:
    """What the VNet's limit keeps from a node, beyond what the node's own limit does.

    `former`: how many addresses the ledger keeps of NICs that it had before.
    """
    entry, request = ledger_changes.entry_of(quota.entries, node), node.view.request
    if entry.request_id != request.number:
        return 0
    return max(0, min(request.count, quota.limits.per_node - former) - entry.count)


def is_due(quota: VNetQuota, draft: Draft, *, calm: bool) -> bool:
    """Whether to write what differs, for no entry's sake: at once what people or nodes wait for, else when `calm`."""
    sudden = {"granted", "nodes", "azure", "throttledUntil", "observedGeneration"}
    turned = "conditions" in draft.fields and conditions.facts(quota.status) != conditions.facts(draft.fields)
    return turned or not sudden.isdisjoint(draft.fields) or (calm and bool(draft.fields))


def uncovered(quota: VNetQuota, nodes: Iterable[NodeRecord]) -> int:
    """Addresses on NICs that the ledger has no room for: the limit was set below what nodes held already.

    Those of a node whose entry is only still to come, for which there is room, are not among them.
    """
    missing = sum(max(0, node.view.allocated - ledger_changes.entry_of(quota.entries, node).count) for node in nodes)
    return max(0, min(missing, quota.granted + missing - quota.grantable))


def on_reclaim_denied(node: str, entry: LedgerEntry, error: AccessDenied) -> str:
    """Azure does not show whether the NIC of a node that is gone still has its addresses."""
    return (
        f"{error}; until then {addresses(entry.count)} of {node}, which is gone from the cluster, are not granted to "
        "others, nor are those of other nodes that are gone"
    )


def on_owner_denied(error: AccessDenied) -> str:
    """Azure does not show on which VM a node's NIC is."""
    return f"{error}; until then a NodeIPPool that names the NIC of another node's VM is not noticed"


def permission_condition(quota: VNetQuota, silence: Explanation, denied: Sequence[str]) -> Condition:
    """`silence`: why Azure does not say how full the VNet is; `denied`: what else was denied, from above."""
    said = [messages.usage(quota, silence).message] if silence.reason == AccessDenied.reason else []
    said += denied
    if not said:
        message = "Azure has denied the controller nothing that it asked for in this VNet"
        return Condition(QuotaKind.PERMISSION_MISSING, holds=False, reason="NothingDenied", message=message)
    return Condition(QuotaKind.PERMISSION_MISSING, holds=True, reason=AccessDenied.reason, message=". ".join(said))
