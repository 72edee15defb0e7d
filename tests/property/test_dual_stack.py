"""Nodes whose pods have both families, by chance: a pod has both or none, and no NIC more than Azure lets it have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv6Network

from hypothesis import given, settings
from hypothesis import strategies as st

from azure_cni.errors import NoAddress
from azure_cni.ipam.ipv6_binding import lacking, most_on_nic
from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.limits import SHRINK_DELAY_S
from azure_cni.ipam.plan import AwaitGrant, Grow, NoOp, Rewrite, Shrink, next_step
from azure_cni.ipam.sizing import Policy
from azure_cni.model.ipv6 import IPv6Configuration, IPv6Growth
from azure_cni.model.nic import MAX_CONFIGS_PER_NIC, ConfigName, IPConfiguration, NicView
from unit.ipam.views import block, config, holder, view

POLICIES = st.sampled_from(
    [
        Policy(ipv6=True),
        Policy(ipv6=True, size=250),
        Policy(ipv6=True, min_free=1, batch=1, max_free=4, maximum=60),
        Policy(ipv6=True, blocks=28, min_free=0, max_free=32),
    ]
)
LIVES = st.lists(
    st.tuples(st.sampled_from(("add", "add", "delete", "wait", "die", "another tool")), st.integers(0, 300)),
    max_size=50,
)


@dataclass
class Node:
    """A NIC that does as it is asked, and an agent that may die between noting a step and making it."""

    policy: Policy
    singles: bool
    configs: list[IPConfiguration] = field(default_factory=list)
    ipv6: list[IPv6Configuration] = field(default_factory=list)
    ledger: Ledger = field(default_factory=lambda: Ledger(dual=True))
    now_s: float = 0.0
    since_s: float | None = None
    made: int = 0

    def view(self) -> NicView:
        return replace(view(self.configs), ipv6=tuple(self.ipv6))

    def step(self, *, waiting: int = 0, dies: bool = False) -> object:
        self.ledger.apply(self.ledger.observe(self.view(), now_s=self.now_s).change)
        plan = next_step(
            self.ledger,
            self.view(),
            self.policy,
            waiting=waiting,
            now_s=self.now_s,
            surplus_since_s=self.since_s,
            granted=250,
            ipv6_singles=self.singles,
        )
        self.since_s = plan.surplus_since_s
        if isinstance(plan.step, Shrink):
            self.ledger.apply(self.ledger.release(plan.step.addresses, now_s=self.now_s))
        if not dies:
            self.write(plan.step)
            self.ledger.apply(self.ledger.observe(self.view(), now_s=self.now_s).change)
        return plan.step

    def write(self, step: object) -> None:
        match step:
            case Grow(add, size=size, ipv6=ipv6):
                for _ in range(add // size):
                    self.made += 1
                    first = 1024 + 16 * self.made
                    self.configs.append(block(first) if size > 1 else config(first))
                self.add(ipv6)
            case Rewrite(ipv6=ipv6):
                self.add(ipv6)
            case Shrink(names=names):
                self.configs = [one for one in self.configs if one.name not in names]
                self.ipv6 = [one for one in self.ipv6 if one.name not in names]
        assert sum(one.block for one in self.ipv6) <= 1
        assert self.view().config_count <= MAX_CONFIGS_PER_NIC

    def add(self, ipv6: IPv6Growth) -> None:
        for _ in range(ipv6.configs):
            self.made += 1
            network = IPv6Network(f"fd00::{self.made:x}:0/112" if ipv6.block else f"fd00::1:{self.made:x}")
            name = ConfigName(f"v6-{self.made}")
            self.ipv6.append(IPv6Configuration(name, network, ready=True, block=ipv6.block))


@settings(max_examples=150, deadline=None)
@given(POLICIES, st.booleans(), LIVES)
def test_a_pod_has_both_or_none_whatever_happens(policy, singles, life):
    node, pods, number = Node(policy, singles), {}, 0
    for event, value in life:
        node.step(waiting=event == "add", dies=event == "die")
        if event == "add":
            number += 1
            try:
                node.ledger.apply(node.ledger.assign(holder(number), now_s=node.now_s, at_limit=False))
            except NoAddress:
                assert not node.ledger.counts().free
                continue
            (slot,) = node.ledger.holding(holder(number).sandbox)
            pods[number] = (slot.address, slot.ipv6)
        elif event == "delete" and pods:
            gone = sorted(pods)[value % len(pods)]
            node.ledger.apply(node.ledger.unassign(holder(gone).sandbox, now_s=node.now_s))
            del pods[gone]
        elif event == "another tool":
            node.ipv6 = node.ipv6[: value % (len(node.ipv6) + 1)]
        node.now_s += value if event == "wait" else 1.0
        node.ledger.apply(node.ledger.cooled(now_s=node.now_s))
        held = {one: (slot.address, slot.ipv6) for one in pods for slot in node.ledger.holding(holder(one).sandbox)}
        assert held == pods
        assert all(ipv6 is not None for _, ipv6 in pods.values())
        assert len({ipv6 for _, ipv6 in pods.values()}) == len(pods)
    settles(node)


def settles(node: Node) -> None:
    """Left alone, it ends with all that its addresses need, and within its bounds."""
    for _ in range(8):
        node.now_s += 2 * SHRINK_DELAY_S
        node.ledger.apply(node.ledger.cooled(now_s=node.now_s))
        last = node.step()
    assert isinstance(last, NoOp | AwaitGrant), last
    seen = node.view()
    assert not lacking(seen, held=seen.held, singles=node.singles)
    assert seen.held <= max(node.policy.maximum, most_on_nic(seen, node.policy, singles=node.singles))
    counts = node.ledger.counts()
    assert counts.programming == 0
    assert counts.free > 0 or counts.assigned
