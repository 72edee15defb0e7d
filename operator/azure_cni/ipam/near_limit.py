"""Told before it hurts: a limit of a node or a VNet that is nearly reached, once, and for as long as it stays so. Pure.

It is the reason of a condition that is still False: AtLimit of a NodeIPPool, Exhausted of a VNetQuota, Throttled for
its budget of NIC writes, SubnetFull for the subnets of its nodes. A condition of its own would be True on every node
that is well used, and people would learn to pass it over.

What was said last is read from the object's own status. So an agent or a controller that starts again neither repeats
it, nor forgets it while the use is between the two shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from azure_cni.api import conditions
from azure_cni.api.conditions import NEAR_LIMIT, Condition, PoolKind, QuotaKind
from azure_cni.model.text import addresses, counted

BEGINS: Final = 0.8
ENDS: Final = 0.7
"""Shares of the limit: above the first somebody should know, and at the second nobody need know any more. Between them
what was said last stays, so that a use that goes up and down around one of them is no news each time."""
FORECAST: Final = "azure-cni forecast says when they are used up"


def is_near(used: int, limit: int, *, was: bool) -> bool:
    """Whether `used` of `limit` addresses is worth a warning; `was`: what was said last."""
    return used > limit * (ENDS if was else BEGINS)


def was_near(status: Mapping[str, Any], kind: PoolKind | QuotaKind) -> bool:
    """What that condition of an object's status says, maybe since before this process."""
    return conditions.facts(status).get(kind.value, ("", ""))[1] == NEAR_LIMIT


def judge(status: Mapping[str, Any], kind: PoolKind | QuotaKind, used: int, limit: int) -> bool:
    """Whether `used` of `limit` is near, where nothing but the object's status says what was said last."""
    return is_near(used, limit, was=was_near(status, kind))


def node_message(assigned: int, ceiling: int) -> str:
    """Of a node, for its condition and its event."""
    return (
        f"pods of this node have {assigned} of the {addresses(ceiling)} that it may hold, {assigned / ceiling:.0%}; "
        f"{FORECAST}"
    )


def below_limit(assigned: int, ceiling: int, *, near: bool, held: str) -> Condition:
    """AtLimit of a node that may hold more; `held` is what it holds, in words."""
    if near and ceiling:
        return Condition(PoolKind.AT_LIMIT, holds=False, reason=NEAR_LIMIT, message=node_message(assigned, ceiling))
    return Condition(PoolKind.AT_LIMIT, holds=False, reason="BelowLimit", message=f"this node holds {held}")


def room_left(status: Mapping[str, Any], granted: int, grantable: int, *, limit: str) -> Condition:
    """Exhausted of a VNet that has room for all that nodes ask for; `limit` says what it allows, in words."""
    if judge(status, QuotaKind.EXHAUSTED, granted, grantable):
        message = f"{granted} of {addresses(grantable)} are granted: {limit}; {FORECAST}"
        return Condition(QuotaKind.EXHAUSTED, holds=False, reason=NEAR_LIMIT, message=message)
    return Condition(
        QuotaKind.EXHAUSTED, holds=False, reason="RoomLeft", message=f"all that is asked for fits: {limit}"
    )


def not_throttled(status: Mapping[str, Any], writes: int | None, allowed: int) -> Condition:
    """Throttled while Azure does not ask to wait. `writes` of `allowed` NIC writes were made in the last ten minutes;
    None where that is not known yet, so what was said last stays.
    """
    kind = QuotaKind.THROTTLED
    near = was_near(status, kind) if writes is None else judge(status, kind, writes, allowed)
    if not near:
        return Condition(kind, holds=False, reason="NotThrottled", message="Azure does not ask to wait")
    made = "most" if writes is None else f"{writes}"
    return Condition(
        kind,
        holds=False,
        reason=NEAR_LIMIT,
        message=f"{made} of {counted(allowed, 'NIC write')} that the budget allows in ten minutes are made: with more, "
        "pods wait for their nodes' turn; let nodes write less often (a larger pool.batch, or minFree and maxFree "
        "further apart), or raise spec.writesPerMinute",
    )
