"""A full subnet, its nodes and the controller's recalls, in whatever order they act.

Nobody gives what its pods need, no more is asked for than is lacking, and nobody waits in the end while another node of
the subnet holds idle addresses.

The nodes are a model: they try, are refused, rest and give as the product's do (`ipam.sizing.SubnetRoom` decides how
many they ask for). The controller's side is the product's.
"""

from __future__ import annotations

from random import Random

import pytest

from azure_cni.api.node_ip_pool import Recall
from azure_cni.ipam.sizing import SubnetRoom
from azure_cni.quota import recall_tracker
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recall_tracker import RecallTracker
from azure_cni.quota.recalls import KEPT
from azure_cni.quota.subnet_recalls import lack, to_give
from fakes.cluster import SUBNET
from unit.quota.recall_nodes import ledger, record

SEEDS = range(40)
ROUND_S = 1.0
REST_ROUNDS = 60
"""So long a node rests after a refusal, if nobody gives anything."""


class Node:
    def __init__(self, name: str, nic: int, pods: int) -> None:
        self.name, self.nic, self.pods = name, nic, pods
        self.room, self.refused, self.rests, self.recalling = SubnetRoom(), 0, 0, 0
        self.recall: Recall | None = None
        self.met = 0

    @property
    def waiting(self) -> int:
        return max(0, self.pods - self.nic)

    def record(self) -> NodeRecord:
        refused = f"try {self.refused}" if self.refused and self.waiting else None
        idle = max(0, self.nic - self.pods)
        wish = {"number": self.recall.number, "hold": self.recall.hold} if self.recall else None
        tries = self.waiting and not self.rests
        return record(
            self.name, subnetID=SUBNET, subnetRefusedTime=refused, writeIntent="Grow" if tries else "None",
            requested=100, granted=100, allocated=self.nic, target=100, assigned=min(self.nic, self.pods),
            free=idle, releasable=idle, waiting=self.waiting, recall=wish, recallMet=self.met,
        )  # fmt: skip

    def learn(self, recalling: int) -> None:
        """Less is coming than before, so that much was given."""
        if recalling < self.recalling and self.refused:
            self.room, self.rests = self.room.after_news(self.recalling - recalling), 0
        self.recalling = recalling

    def act(self, free: int) -> None:
        if self.recall is not None and self.met != self.recall.number:
            self.nic, self.met = max(min(self.nic, self.recall.hold), self.pods), self.recall.number
        elif self.waiting and self.rests:
            self.rests -= 1
        elif self.waiting:
            add = self.room.next_add(self.waiting, needed=self.waiting)
            if add <= free:
                self.room = self.room.after_growth(add, wanted=self.waiting)
                self.nic += add
            else:
                self.room, self.refused, self.rests = self.room.after_refusal(add), self.refused + 1, REST_ROUNDS


class Subnet:
    def __init__(self, chance: Random) -> None:
        self.chance, self.tracker, self.now_s = chance, RecallTracker(), 0.0
        self.nodes = [Node(f"n{number}", nic=chance.randint(1, 12), pods=0) for number in range(chance.randint(2, 5))]
        self.size = sum(node.nic for node in self.nodes)

    def round(self) -> None:
        """The controller looks; then each node acts, or not, in any order."""
        self.now_s += ROUND_S
        records = [node.record() for node in self.nodes]
        quota = ledger(*records, limit=10_000)
        plan = self.tracker.plan(quota, records, now_s=self.now_s, utc_s=self.now_s + 1000, halted=False)
        lacking, coming = sum(lack(quota, one) for one in records), sum(map(to_give, records))
        newly = sum(plan.asked_for.values())
        assert newly <= max(0, lacking - coming), "more was asked for than pods wait for"
        for node in self.nodes:
            if node.name in plan.asked:
                assert plan.asked[node.name].hold >= max(KEPT, node.pods), "it would give what its pods need"
                node.recall = plan.asked[node.name]
            elif node.name in plan.ended:
                node.recall = None
            node.learn(plan.starving.get(node.name, 0))
        for node in self.chance.sample(self.nodes, self.chance.randint(1, len(self.nodes))):
            node.act(self.size - sum(one.nic for one in self.nodes))
            assert sum(one.nic for one in self.nodes) <= self.size


def left_over(seed: int) -> str:
    """What is not as it must be in the end: who waits while others hold idle addresses; "" when nobody does."""
    subnet = Subnet(Random(seed))
    for _ in range(subnet.chance.randint(1, 8)):
        for node in subnet.chance.sample(subnet.nodes, subnet.chance.randint(1, len(subnet.nodes))):
            node.pods = subnet.chance.randint(0, min(20, node.nic + 8))
        for _ in range(subnet.chance.randint(0, 40)):
            subnet.round()
    for _ in range(10 * REST_ROUNDS):
        subnet.round()
    waiting = {node.name: node.waiting for node in subnet.nodes if node.waiting}
    idle = {node.name: node.nic - node.pods for node in subnet.nodes if node.nic > max(KEPT, node.pods)}
    free = subnet.size - sum(node.nic for node in subnet.nodes)
    return f"{waiting} wait, {idle} are idle and {free} free" if waiting and (idle or free) else ""


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_waits_while_others_hold_idle_addresses_and_nobody_loses_what_it_needs(seed: int) -> None:
    assert left_over(seed) == ""


def test_without_recalls_pods_wait_beside_idle_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall_tracker, "with_subnets", lambda plan, *_, **__: plan)
    assert any(map(left_over, SEEDS))
