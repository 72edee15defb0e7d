"""Recalls in the small world: what nodes want for pods and beyond, and what the product's controller recalls of it.

A recall only changes what a node asks for, and nodes of this world ask for anything at any time. So no way past a limit
that begins with a recall is left out of the walk; what is to be shown beside it is that recalls end, and that nobody
starves while the other holds idle addresses.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import product
from typing import NamedTuple

from azure_cni.api.node_ip_pool import Recall, WriteIntent
from azure_cni.api.reading import Version
from azure_cni.api.vnet_quota import LedgerEntry, Limits, VNetQuota
from azure_cni.ipam.sizing import under_recall
from azure_cni.model.nic import VNetID
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recalls import plan_recalls
from property.grant_controllers import Ledger
from property.grant_world import Node, Size

NUMBER = 1
"""Of every recall: that a later one has a higher number matters only to a node that has met the one before."""


class Wish(NamedTuple):
    """What a node would hold, and how many of these are for pods."""

    want: int
    need: int


class Wishes(NamedTuple):
    """What both nodes wish, and what is recalled from each: how many it may hold."""

    first: Wish
    second: Wish
    holds: tuple[int | None, int | None] = (None, None)

    def of(self, index: int) -> Wish:
        return self.second if index else self.first

    def recall(self, index: int) -> Recall | None:
        hold = self.holds[index]
        return None if hold is None else Recall(NUMBER, hold)

    def wanted(self, index: int) -> int:
        """By the product's rule."""
        wish = self.of(index)
        return under_recall(wish.want, needed=wish.need, recall=self.recall(index))


@cache
def all_wishes(size: Size) -> tuple[Wishes, ...]:
    """Everything that both may want. One of it is not for pods, or all is; that matters where there is not enough."""
    found = []
    for wants in product(range(size.per_node + 1), repeat=2):
        least = 1 if sum(wants) > size.limit else 0
        needs = product(*(range(max(0, want - least), want + 1) for want in wants))
        found += [Wishes(Wish(wants[0], first), Wish(wants[1], second)) for first, second in needs]
    return tuple(found)


def recalled(nodes: list[Node], ledger: Ledger, wishes: Wishes, size: Size) -> Wishes:
    """What a controller that nobody disturbs adds to what is recalled."""
    if all(node.nic >= wishes.of(index).need for index, node in enumerate(nodes)):
        return wishes  # no pod waits, so the product is not asked: there are many such states
    return _decided(tuple(nodes), ledger, wishes, size)


@lru_cache(maxsize=2**20)
def _decided(nodes: tuple[Node, ...], ledger: Ledger, wishes: Wishes, size: Size) -> Wishes:
    entries = {str(index): LedgerEntry(entry.count, entry.request_id) for index, entry in enumerate(ledger)}
    limits = Limits(limit=size.limit, per_node=size.per_node)
    quota = VNetQuota(
        *("vnet", Version("u", "1"), 1, VNetID("v"), limits, entries),
        is_untouched=True, is_new=False, azure=None, subnets=(), tokens=None, throttled_until_s=None, status={},
    )  # fmt: skip
    records = [_record(index, node, wishes) for index, node in enumerate(nodes) if node.pool.request.number]
    plan = plan_recalls(quota, records, counted=lambda _: True, number=NUMBER)
    holds = tuple(plan.asked[str(index)].hold if str(index) in plan.asked else wishes.holds[index] for index in (0, 1))
    return wishes._replace(holds=(holds[0], holds[1]))


def _record(index: int, node: Node, wishes: Wishes) -> NodeRecord:
    wanted, need = wishes.wanted(index), wishes.of(index).need
    intent = WriteIntent.GROW if wanted > node.nic else WriteIntent.SHRINK if wanted < node.nic else WriteIntent.NONE
    free = max(0, node.nic - need)
    return NodeRecord(
        name=str(index), version=Version("u", "1"), vnet_id=VNetID("v"), subnet="", nic="",
        view=node.pool, write_intent=intent,
        waiting=max(0, need - node.nic), free=free, assigned=min(need, node.nic), target=wanted,
        releasable=free,
        recall=wishes.recall(index), recall_met=NUMBER if node.nic <= wanted else 0, recalling=0, subnet_refused="",
        by_blocks=False,
        throttled_until_s=0.0, reason="", not_before_s=None, asking_since_s=0.0,
    )  # fmt: skip
