"""Which VNets and NICs that nodes name get into a ledger: what Azure must say of them first. Pure.

A node itself says in which VNet it is, and each VNet has a VNetQuota and tasks of its own, so a made-up name must not
get them. A VNet that Azure confirms is admitted; one that Azure does not have is not. Where Azure does not answer
(no permission, no connection), a VNet that at least half of the nodes name is admitted: an installation works without
that permission.

A node whose pool names another NIC than its entry is for is a VM that was recreated under its name, or a lie. What it
was granted before stays in the ledger beside its new entry (`ledger_changes`), so each change of the NIC takes up room.
Hence at most `MOST_FORMER` entries of a node stay aside, and Azure must show the new NIC to the controller.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.api.vnet_quota import LedgerEntry
from azure_cni.errors import AzureCniError, CloudNotFound, RequestError
from azure_cni.model.nic import SubnetUsage
from azure_cni.quota import ledger_changes, nic_messages
from azure_cni.quota.messages import NOTHING, Explanation
from azure_cni.quota.node_record import NodeRecord

MOST_LOOKS: Final = 4
"""VNets that are looked at in a minute. A cluster has one, or a few."""


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """What Azure said of a VNet: how full its subnets are, or why it does not say."""

    usages: tuple[SubnetUsage, ...] = ()
    error: AzureCniError | None = None

    @property
    def outcome(self) -> tuple[SubnetUsage, ...] | AzureCniError:
        """Either."""
        return self.usages if self.error is None else self.error


def is_admitted(answer: UsageAnswer | None, *, nodes: int, all_nodes: int) -> bool:
    """Whether a VNet that `nodes` of `all_nodes` name gets a quota; `answer` is None when Azure was not asked."""
    if answer is None or isinstance(answer.error, CloudNotFound | RequestError):
        return False
    return answer.error is None or 2 * nodes >= all_nodes


def next_looks(nodes_of: dict[str, int], *, looked_at: Collection[str]) -> list[str]:
    """Which of these VNets to ask Azure about now, those with the most nodes first.

    `nodes_of`: how many nodes name each; `looked_at`: the VNets that were asked about in the last minute.
    """
    due = sorted(nodes_of.keys() - set(looked_at), key=lambda key: (-nodes_of[key], key))
    return due[: max(0, MOST_LOOKS - len(looked_at))]


MOST_FORMER: Final = 2


def changes_nic(entries: Mapping[str, LedgerEntry], node: NodeRecord) -> bool:
    """Whether the node's pool names another NIC than its entry is for."""
    entry = entries.get(node.name)
    return bool(node.view.request.number and entry and entry.nic and node.nic and entry.nic != node.nic)


def judge_by_ledger(entries: Mapping[str, LedgerEntry], node: NodeRecord) -> Explanation | None:
    """Why a node that changes its NIC may not; `NOTHING` when it may, None when Azure must show the NIC first."""
    former = ledger_changes.former(entries, node.name)
    # With nothing granted, nothing moves aside; a NIC that the node had before has its entry already.
    if not entries[node.name].count or node.nic in {entry.nic for entry in former.values()}:
        return NOTHING
    return nic_messages.on_former(node, former) if len(former) >= MOST_FORMER else None
