"""How full the subnets are that nodes are in: what a VNetQuota says of it, and warns of before pods have to wait. Pure.

A subnet can be full long before the VNet's quota is. Azure counts what is in use in each, by whomever, in the reading
from which `external_usage` learns what others use of the VNet. Nothing is granted or refused because of it: Azure
refuses what does not fit, and each node finds out by its own writes (`ipam.sizing`). So a count that is some minutes
old does no harm. Whose idle addresses help a node in a full subnet is `subnet_recalls`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from azure_cni.api.conditions import NEAR_LIMIT, Condition, QuotaKind
from azure_cni.api.quota_usage import MOST_SUBNETS, SubnetUse
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.ipam.near_limit import FORECAST, is_near
from azure_cni.model.nic import BLOCK_LENGTH, BLOCK_SIZE, SubnetUsage
from azure_cni.model.text import addresses, counted, time_text
from azure_cni.quota.node_record import NodeRecord

FRAGMENTED: Final = "SubnetFragmented"
"""The reason of SubnetFull where only blocks of addresses are missing."""
NAMED: Final = 4
"""Subnets that a sentence names; the status lists them all."""


def name_of(subnet_id: str) -> str:
    """A subnet's name, as Azure shows it, from its resource ID."""
    return subnet_id.rpartition("/")[2]


def subnet_uses(
    quota: VNetQuota, nodes: Collection[NodeRecord], usages: Sequence[SubnetUsage], *, now_s: float
) -> tuple[SubnetUse, ...]:
    """Of those that nodes are in, by the newest reading; as the quota has them where there is none.

    `now_s`: since 1970.
    """
    if not usages:
        return quota.subnets
    ours = Counter(node.subnet for node in nodes)
    blockless = Counter(node.subnet for node in nodes if node.by_blocks and node.subnet_refused)
    before = {use.name.lower(): use.near_since_s for use in quota.subnets}
    found = []
    for usage in usages:
        name = name_of(usage.subnet_id)
        subnet_id = usage.subnet_id.lower()
        if subnet_id in ours and usage.limit > 0:
            since_s = before.get(name.lower())
            near = is_near(usage.used, usage.limit, was=since_s is not None)
            since_s = (since_s if since_s is not None else now_s) if near else None
            scattered = blockless[subnet_id] if usage.limit - usage.used >= BLOCK_SIZE else 0
            found.append(SubnetUse(name, usage.used, usage.limit, since_s, scattered))
    fullest = sorted(found, key=lambda use: (-use.used / use.limit, use.name))[:MOST_SUBNETS]
    return tuple(sorted(fullest, key=lambda use: use.name))


def has_plenty(quota: VNetQuota, subnet: str) -> bool:
    """Whether Azure's last count shows room in a node's subnet (`NodeRecord.subnet`): no warning of it stands."""
    use = next((use for use in quota.subnets if use.name.lower() == name_of(subnet)), None)
    return use is not None and use.near_since_s is None


def subnet_full(quota: VNetQuota, *, recalled: int = 0, silent: bool = False) -> Condition:
    """Whether a subnet has no address left, or none of the blocks that pods wait for. `recalled`: how many idle ones
    nodes are to give back in full subnets.

    `silent`: Azure does not say now how full they are, so it is said when it did.
    """
    at = f", as at {time_text(quota.azure.read_s)}" if silent and quota.azure else ""
    full = [use for use in quota.subnets if use.is_full]
    near = [use for use in quota.subnets if use.near_since_s is not None]
    scattered = [use for use in quota.subnets if use.without_block and not use.is_full]
    if full:
        back = ""
        if recalled:
            idle = counted(recalled, "idle address is", "idle addresses are")
            back = f"; {idle} taken back for pods that wait"
        return Condition(
            QuotaKind.SUBNET_FULL,
            holds=True,
            reason=QuotaKind.SUBNET_FULL,
            message=f"no address is left in {_listed(full, at)}{back}; nodes there get no more: remove pods or what "
            "else uses addresses there, enlarge the subnet, or add nodes in another one",
        )
    if scattered:
        nodes = sum(use.without_block for use in scattered)
        return Condition(
            QuotaKind.SUBNET_FULL,
            holds=True,
            reason=FRAGMENTED,
            message=f"no block of {BLOCK_SIZE} addresses (/{BLOCK_LENGTH}) is free in {_listed(scattered, at)}: the "
            f"free ones are scattered, and pods on {counted(nodes, 'node wait', 'nodes wait')} for a block; free all "
            "of one, give blocks a subnet of their own, or set spec.blocks of the NodeIPPools to 0",
        )
    if near:
        message = f"most addresses are used in {_listed(near, at)}; {FORECAST}"
        return Condition(QuotaKind.SUBNET_FULL, holds=False, reason=NEAR_LIMIT, message=message)
    if not quota.subnets:
        message = "Azure has not said yet how full the subnets of nodes are"
        return Condition(QuotaKind.SUBNET_FULL, holds=False, reason="UsageUnknown", message=message)
    message = f"{counted(len(quota.subnets), 'subnet of nodes has', 'subnets of nodes have')} room (status.subnets)"
    return Condition(QuotaKind.SUBNET_FULL, holds=False, reason="SubnetsHaveRoom", message=message)


def _listed(uses: Sequence[SubnetUse], at: str) -> str:
    shown = [f"subnet {use.name} ({use.used} of {addresses(use.limit)}{at})" for use in uses[:NAMED]]
    more = [f"{len(uses) - NAMED} more"] if len(uses) > NAMED else []
    return ", ".join(shown + more)
