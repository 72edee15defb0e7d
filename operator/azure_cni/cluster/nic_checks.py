"""Asks Azure about nodes whose pools name another NIC than their ledger entries do.

An entry moves aside only for a NIC that Azure shows the controller itself (`quota.admission` says why), and a node
changes its NIC at most once a minute. Until then the node is granted nothing, and its pool says why.

Azure may take seconds to answer, so it is asked in parallel to the rounds of grants: a round uses what is known, and
only the node that changes its NIC waits. Together with the new NIC, Azure is asked about the NICs that the node had
before. If one of them is gone, the next round checks its entry at once (`reclaimer`), so that a recreated VM has its
whole limit again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota, nic_resource_id
from azure_cni.cluster.ports import ControllerClock, VNets
from azure_cni.errors import AzureCniError, CloudUnreachable, ResourceBusy
from azure_cni.faults import Faults
from azure_cni.model.nic import VNetID
from azure_cni.quota import ledger_changes, nic_messages
from azure_cni.quota.admission import changes_nic, judge_by_ledger
from azure_cni.quota.messages import NOTHING, Explanation
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pool_updates import GRANT_EXPLANATION_DELAY_S

NIC_CHANGE_INTERVAL_S: Final = 60.0
"""A node changes its NIC at most this often, and Azure is asked about one at most this often."""
NODES_AT_ONCE: Final = 16
"""Nodes in one batch; each has at most three more NICs, those that it had before."""
NIC_READ_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class NicCheckResult:
    """The nodes that change their NIC."""

    held: Mapping[str, Explanation] = field(default_factory=dict)
    """Those that are granted nothing for now, and why."""
    unknown: frozenset[str] = frozenset()
    """Those about which Azure has not answered yet. They are granted nothing either, without an explanation."""
    doubtful: frozenset[str] = frozenset()
    """Keys of entries that are for other NICs than their nodes have, and whose NICs are gone."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was found of one node's NIC."""

    nic: str
    found_s: float
    explanation: Explanation
    """Nothing when it may change."""


@dataclass(frozen=True, slots=True)
class _Question:
    """About one node that changes its NIC."""

    node: NodeRecord
    vnet_id: VNetID
    by_ledger: Explanation | None
    former: Mapping[str, LedgerEntry]
    """The entries that are for the NICs it had before, by key."""


class NicChecks:
    """Judges the changes of one VNet's nodes. `found` is called when Azure has answered."""

    def __init__(self, *, vnets: VNets, clock: ControllerClock, faults: Faults, found: Callable[[], None]) -> None:
        self._vnets = vnets
        self._clock = clock
        self._faults = faults
        self._found = found
        self._verdicts: dict[str, _Verdict] = {}
        """By node: the last one, for `NIC_CHANGE_INTERVAL_S`."""
        self._questions: asyncio.Queue[_Question] = asyncio.Queue()
        self._asked: set[str] = set()
        """Nodes with a question that is not answered."""
        self._doubtful: dict[str, LedgerEntry] = {}
        """Entries whose NICs Azure has shown to be gone, until a round has taken them."""

    def check(self, quota: VNetQuota, nodes: Iterable[NodeRecord]) -> NicCheckResult:
        """What is known of these nodes; `run` asks Azure about the others."""
        now_s = self._clock.monotonic_s()
        self._verdicts = {
            name: verdict for name, verdict in self._verdicts.items() if now_s < verdict.found_s + NIC_CHANGE_INTERVAL_S
        }
        held: dict[str, Explanation] = {}
        unknown: set[str] = set()
        for node in nodes:
            if not changes_nic(quota.entries, node):
                continue
            explanation = self._explanation(quota, node)
            if explanation is None and now_s - node.asking_since_s < GRANT_EXPLANATION_DELAY_S:
                unknown.add(node.name)
            elif explanation != NOTHING:
                held[node.name] = explanation or nic_messages.on_nic_unseen(node)
        doubtful = frozenset(key for key, entry in self._doubtful.items() if quota.entries.get(key) == entry)
        self._doubtful.clear()
        return NicCheckResult(held, frozenset(unknown), doubtful)

    async def run(self) -> None:
        """Ask Azure, until cancelled. A missing answer about one node delays no other."""
        places = asyncio.Semaphore(NODES_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                question = await self._questions.get()
                await places.acquire()
                tasks.create_task(self._answer(question)).add_done_callback(lambda _: places.release())

    def _explanation(self, quota: VNetQuota, node: NodeRecord) -> Explanation | None:
        """What blocks the node's change: nothing, a reason, or None while that is unknown."""
        verdict = self._verdicts.get(node.name)
        if verdict is None:
            return self._begin(quota, node)
        return verdict.explanation if verdict.nic == node.nic else nic_messages.on_nic_changing(node)

    def _begin(self, quota: VNetQuota, node: NodeRecord) -> Explanation | None:
        """Queue the question to Azure, and decide what the ledger alone can decide."""
        if node.name in self._asked:
            return None
        by_ledger = judge_by_ledger(quota.entries, node)
        former = {node.name: quota.entries[node.name], **ledger_changes.former(quota.entries, node.name)}
        self._asked.add(node.name)
        self._questions.put_nowait(_Question(node, quota.vnet_id, by_ledger, former))
        if by_ledger is not None:
            self._verdicts[node.name] = _Verdict(node.nic, self._clock.monotonic_s(), by_ledger)
        return by_ledger

    async def _answer(self, question: _Question) -> None:
        name = question.node.name
        try:
            # Together: the round that lets the node change also removes what is gone.
            explanation, gone = await asyncio.gather(self._judge(question), self._gone(question))
            self._verdicts[name] = _Verdict(question.node.nic, self._clock.monotonic_s(), explanation)
            self._doubtful |= gone
        finally:
            self._asked.discard(name)
        self._found()

    async def _judge(self, question: _Question) -> Explanation:
        node = question.node
        if question.by_ledger is not None:
            return question.by_ledger
        try:
            with self._faults.guard("nic", about=node.name):
                ours = await self._ours_on(node.nic, question.vnet_id)
        except ResourceBusy:  # it exists
            return NOTHING
        except AzureCniError as error:
            return nic_messages.on_nic_unseen(node, why=str(error))
        return nic_messages.on_nic_unseen(node, why="Azure has no such NIC") if ours is None else NOTHING

    async def _gone(self, question: _Question) -> dict[str, LedgerEntry]:
        """The entries for NICs that do not exist any more."""
        former = question.former
        gone = await asyncio.gather(*(self._is_gone(question, entry) for entry in former.values()))
        return {key: entry for (key, entry), is_gone in zip(former.items(), gone, strict=True) if is_gone}

    async def _is_gone(self, question: _Question, entry: LedgerEntry) -> bool:
        """Whether the NIC of that entry does not exist any more; False where Azure does not say."""
        if not entry.nic or entry.nic == question.node.nic:
            return False
        try:
            with self._faults.guard("nic", about=question.node.name):
                return await self._ours_on(entry.nic, question.vnet_id) is None
        except AzureCniError:  # the reclaimer looks into it in its own time
            return False

    async def _ours_on(self, nic: str, vnet_id: VNetID) -> int | None:
        try:
            async with asyncio.timeout(NIC_READ_TIMEOUT_S):
                return await self._vnets.ours_on(nic_resource_id(nic, vnet_id=vnet_id))
        except TimeoutError:
            raise CloudUnreachable(f"no answer within {NIC_READ_TIMEOUT_S:g} s") from None
