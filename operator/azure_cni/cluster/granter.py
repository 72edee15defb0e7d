"""Granting: what the nodes of one VNet ask for is reserved in one write of the ledger, and then answered.

Nodes of one VNet share its addresses, the budget of NIC writes, and the one object that holds the ledger. So they are
served together, in rounds. A round goes like this:

1. *Read.* The quota is taken as `QuotaCache` knows it, and the pools as `NodeIndex` knows them. Both may be out of
   date, and nothing is locked or read again: every write below is a compare-and-swap on the version from which it was
   decided, so the API server refuses what was decided from an old one.
2. *Leave out* the nodes that can be granted nothing now: whose NIC has changed and is not confirmed by Azure
   (`NicChecks`), whose entry the API server refuses (`LedgerWriter`), or whose NIC has a name that no ledger can hold.
3. *Find* the entries of vanished nodes that may go (`Reclaimer`), and what others use of the VNet (`external_usage`).
4. *Decide* which requests are reserved now (`quota.pacing`).
5. *Reserve.* One write of the quota carries the entries of all those nodes, the tokens that they cost, and the sums and
   conditions. The API server refuses it as a whole if the entries would sum to more than the limit.
6. *Answer.* Only then the pools are written, several at a time. A node that reads its answer may write its NIC at once,
   so the ledger must have it first. A node that has to wait learns the reason instead, and a node that needs less than
   it was granted has its grant lowered. Where hundreds are to learn something, it takes several rounds.
7. *Take back.* The entries of pools that were lowered follow in a second write of the ledger. Here the pool comes
   first: its write fails if the node has asked for more in the meantime.

A round that ends between any two steps leaves the ledger with at least what nodes may hold, so there is nothing to undo
or resume: what is reserved and not answered is answered by the next round, and what was lowered in a pool alone is
lowered in the ledger then. A write that fails is therefore not repeated. It ends the round or drops out of it, what is
known is read again, and the next round decides again. What outlives a round only makes the next one cheaper or fairer:
how many writes each node was granted, which nodes say that Azure asked to wait, which NICs were checked. Losing it
costs a minute's fairness and never a limit.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from azure_cni.api import vnet_quota
from azure_cni.api.conditions import QuotaKind
from azure_cni.api.vnet_quota import LONGEST_NIC_LABEL, Draft, LedgerEntry, Tokens, VNetQuota
from azure_cni.cluster.ledger_writer import LedgerWriter
from azure_cni.cluster.nic_checks import NicChecks
from azure_cni.cluster.nic_owners import NicOwners
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.pool_writer import PoolWriter
from azure_cni.cluster.ports import ClusterPorts
from azure_cni.cluster.quota_cache import QuotaCache
from azure_cni.cluster.quota_events import QuotaEvents, recall
from azure_cni.cluster.reclaimer import Reclaimer
from azure_cni.cluster.silent_nodes import SilentNodes
from azure_cni.quota import external_usage, ledger_changes, messages, nic_messages, pool_updates, quota_status
from azure_cni.quota.external_usage import UsageReading
from azure_cni.quota.instance_budget import InstanceBudget
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pacing import ReservationPlan, plan_reservations
from azure_cni.quota.pool_updates import GRANT_EXPLANATION_DELAY_S
from azure_cni.quota.recall_tracker import RecallTracker
from azure_cni.quota.recalls import NO_RECALLS
from azure_cni.quota.subnets import subnet_uses
from azure_cni.quota.throttling import ThrottleTracker
from azure_cni.quota.write_budget import GrantHistory, capacity

log = logging.getLogger(__name__)

SUMS_S: Final = 10.0
"""How often to look at what nobody waits for, such as how many addresses pods hold: it is written when no write has
carried it for that long. So nodes cause one such write in this time at most, however often they change what they say.
"""


class Granter:
    """The grants of one VNet. `run_round` is called again and again, by one task."""

    def __init__(
        self,
        *,
        ports: ClusterPorts,
        cache: QuotaCache,
        vnet_id: str,
        node_index: NodeIndex,
        reading: UsageReading,
        reclaimer: Reclaimer,
        nic_owners: NicOwners,
        nic_checks: NicChecks,
        silent_nodes: SilentNodes,
        events: QuotaEvents,
        instance_budget: InstanceBudget,
    ) -> None:
        self._ports = ports
        self._cache = cache
        self._vnet_id = vnet_id
        self._node_index = node_index
        self._reading = reading
        self._ledger_writer = LedgerWriter(cache, ports.clock)
        self._throttling = ThrottleTracker()
        self._recalls = RecallTracker()
        self._recall_plan = NO_RECALLS
        """What the round that runs, or the last one, makes of nodes whose pods wait."""
        self._history = GrantHistory(since_s=ports.clock.monotonic_s())
        self._reclaimer = reclaimer
        self._nic_owners = nic_owners
        self._nic_checks = nic_checks
        self._silent_nodes = silent_nodes
        self._events = events
        self._instance_budget = instance_budget
        self._pool_writer = PoolWriter(ports=ports, node_index=node_index)
        self._sums_due_s = float("-inf")
        """Monotonic time before which nothing is written for the sums alone."""
        self.delayed = 0
        """How many nodes wait for their grant."""

    @property
    def _sums_rest_s(self) -> float:
        """Until the sums may be written, or are looked at again."""
        due_in_s = self._sums_due_s - self._ports.clock.monotonic_s()
        return due_in_s if due_in_s > 0 else SUMS_S

    @property
    def exhausted(self) -> bool:
        """Nodes ask for more than there is, in the VNet or in a subnet."""
        quota, kinds = self._cache.quota, (QuotaKind.EXHAUSTED, QuotaKind.SUBNET_FULL)
        return bool(self._recall_plan.in_subnets) or (quota is not None and any(map(quota.holds, kinds)))

    @property
    def starving(self) -> Collection[str]:
        """Nodes for whose pods idle addresses of others are taken back, or would be if there were any."""
        return self._recall_plan.starving.keys()

    async def run_round(self) -> float:
        """One round over all pools; returns the seconds until the next one if nothing wakes us before."""
        began_s = self._ports.clock.monotonic_s()
        quota = await self._cache.ensure()
        nodes, refused = self._nodes()
        nic_checks = self._nic_checks.check(quota, nodes)
        vanished = await self._reclaimer.find_vanished(quota, doubtful=nic_checks.doubtful)
        refused |= nic_checks.held
        refused |= self._nic_owners.refused(nodes)
        refused |= self._ledger_writer.refused(nodes)
        nodes = [node for node in nodes if node.name not in refused and node.name not in nic_checks.unknown]
        nodes = self._silent_nodes.without_their_pods(nodes)
        quota = self._with_usage(quota, nodes)
        plan = self._plan(quota, nodes, vanished, began_s=began_s)
        quota = await self._reserve(quota, nodes, plan)
        self._note_trials(nodes, plan)
        self._reclaimer.done({key: entry for key, entry in vanished.items() if key not in quota.entries})
        updates = [
            *pool_updates.answers(quota, nodes),
            *pool_updates.delays(quota, nodes, plan, monotonic_s=self._ports.clock.monotonic_s()),
            *pool_updates.refusals(self._node_index.of(self._vnet_id), refused),
        ]
        updates = pool_updates.in_order(pool_updates.with_recalls(quota, nodes, self._recall_plan, updates))
        written = await self._pool_writer.write(quota, updates, asked=self._recall_plan.asked_for)
        lowered = {update.node.name: update.lowers for update in written if update.lowers is not None}
        if lowered:
            self._events.tell(quota, await self._cache.write(quota, self._draft(quota, lowered, nodes)))
        asked = {update.node.name for update in written} & self._recall_plan.asked.keys()
        if asked:
            givers = {name: self._recall_plan.asked_for[name] for name in asked}
            self._events.publish(quota, recall(givers, self._recall_plan.starving))
        self._ports.observer.round(self._ports.clock.monotonic_s() - began_s)
        soon = plan.delayed or nic_checks.unknown or self._recall_plan.starving
        explain_s = GRANT_EXPLANATION_DELAY_S if soon else SUMS_S
        step_s = pool_updates.next_step_s(written, starving=bool(self._recall_plan.starving))
        gathers_s = self._recalls.gathers_until_s - self._ports.clock.monotonic_s()
        return min(
            *(plan.due_s, self._reclaimer.due_in_s, explain_s, step_s),
            *(self._sums_rest_s, self._pool_writer.retry_in_s),
            gathers_s if gathers_s > 0 and self._recall_plan.starving else SUMS_S,
        )

    def _with_usage(self, quota: VNetQuota, nodes: Sequence[NodeRecord]) -> VNetQuota:
        """With what Azure said last of the VNet and its subnets."""
        use = external_usage.azure_use(quota, nodes, self._reading)
        uses = subnet_uses(quota, nodes, self._reading.subnets, now_s=self._ports.clock.utc_s())
        return replace(quota, azure=use, subnets=uses)

    def _plan(
        self, quota: VNetQuota, nodes: Sequence[NodeRecord], vanished: Mapping[str, LedgerEntry], *, began_s: float
    ) -> ReservationPlan:
        """What is reserved in this round."""
        now_s = self._ports.clock.utc_s()
        throttling = self._throttling.assess(
            nodes,
            known_until_s=quota.throttled_until_s or 0.0,
            own_until_s=now_s + self._reading.throttled_until_s - self._ports.clock.monotonic_s(),
            now_s=now_s,
        )
        self._recall_plan = self._recalls.plan(
            quota,
            nodes,
            now_s=began_s,
            utc_s=now_s,
            halted=throttling.all_until_s > now_s,
            slowed=throttling.slowed,
        )
        plan = plan_reservations(
            quota,
            nodes,
            vanished=vanished,
            throttling=throttling,
            uses=self._history.uses(now_s=began_s),
            now_s=now_s,
            monotonic_s=began_s,
            recalled=self._recall_plan.under_way,
            instances=self._instance_budget.tokens(self._vnet_id),
        )
        self.delayed = len(plan.delayed)
        if plan.new_throttling_s:
            self._ports.observer.throttled(plan.new_throttling_s)
            log.warning("azure asks to wait", extra={"quota": quota.name, "seconds": round(plan.new_throttling_s)})
        return plan

    def _note_trials(self, nodes: Iterable[NodeRecord], plan: ReservationPlan) -> None:
        """In a stop, whoever has a grant has that of a trial."""
        for node in nodes if plan.throttled_until_s else ():
            if plan.costs.get(node.name):
                self._throttling.tried(node, now_s=self._ports.clock.utc_s())

    def _nodes(self) -> tuple[list[NodeRecord], dict[str, Explanation]]:
        """The pools to grant to, and those that the API server would refuse an entry for, and with it all others'."""
        nodes, refused = [], {}
        for node in self._node_index.of(self._vnet_id):
            if len(node.nic) > LONGEST_NIC_LABEL:
                refused[node.name] = nic_messages.on_unwritable(node)
            else:
                nodes.append(node)
        return nodes, refused

    # The ledger.

    async def _reserve(self, quota: VNetQuota, nodes: Sequence[NodeRecord], plan: ReservationPlan) -> VNetQuota:
        """Write what is to be reserved, and what else the status must say; returns the quota as it is then."""
        now_s = self._ports.clock.monotonic_s()
        draft = self._draft(replace(quota, throttled_until_s=plan.throttled_until_s), plan.changes, nodes)
        due = plan.turned_back or quota_status.is_due(quota, draft, calm=now_s >= self._sums_due_s)
        if not plan.changes and not due:
            return quota
        budget = {"budget": _budget(quota, plan.tokens)} if plan.tokens != quota.tokens else {}

        def drafted(seen: VNetQuota, changes: Mapping[str, LedgerEntry | None]) -> Draft:
            part = self._draft(replace(seen, throttled_until_s=plan.throttled_until_s), changes, nodes)
            return replace(part, fields={**part.fields, **budget})

        known = {node.name: node for node in nodes}
        written = await self._ledger_writer.write(quota, plan.changes, nodes=known, draft=drafted)
        self._events.tell(quota, written)
        self._sums_due_s = now_s + SUMS_S
        self._history.note(plan.costs.items(), now_s=now_s)
        of_instances = sum(cost for name, cost in plan.costs.items() if known[name].is_instance)
        self._instance_budget.note(self._vnet_id, writes=of_instances)
        if plan.changes:
            writes = sum(plan.costs.values())
            facts = {"entries": len(plan.changes), "writes": writes, "delayed": len(plan.delayed)}
            log.info("ledger written", extra={"quota": quota.name, "granted": written.granted, **facts})
        return written

    def _draft(self, quota: VNetQuota, changes: Mapping[str, LedgerEntry | None], nodes: Sequence[NodeRecord]) -> Draft:
        """The changes, with the sums and conditions that go with them."""
        changed = replace(quota, entries=ledger_changes.after(quota.entries, changes))
        silence, now_s = self._reading.silence, self._ports.clock.utc_s()
        refused = self._ledger_writer.refused(self._node_index.of(self._vnet_id))
        denied = (self._reclaimer.denied, self._nic_owners.denied)
        fields = quota_status.status_fields(
            changed,
            nodes,
            silence=silence,
            now_s=now_s,
            refused=refused,
            denied=tuple(filter(None, denied)),
            recalled=self._recall_plan.under_way if self._recall_plan.quota_starves else messages.NOBODY,
            recalled_in_subnets=self._recall_plan.recalled_in_subnets,
            writes=self._history.writes(now_s=self._ports.clock.monotonic_s()),
        )
        return Draft(changes, {key: value for key, value in fields.items() if quota.status.get(key) != value})


def _budget(quota: VNetQuota, tokens: Tokens) -> dict[str, Any]:
    return vnet_quota.tokens_document(tokens, capacity=capacity(quota.limits.writes_per_minute))
