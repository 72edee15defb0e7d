"""A plan is carried out on a model NIC and interrupted after every step: limits hold, and it ends at the target."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from azure_cni.ipam.ledger import Ledger, State
from azure_cni.ipam.limits import SHRINK_DELAY_S
from azure_cni.ipam.plan import AwaitGrant, Grow, NoOp, Plan, Rewrite, Shrink, WaitForAzure, next_step
from azure_cni.ipam.sizing import Policy, in_blocks, target
from azure_cni.model.nic import BLOCK_SIZE, MAX_CONFIGS_PER_NIC, IPConfiguration
from unit.ipam.views import adopted, block, config, holder, view


@st.composite
def policies(draw):
    if draw(st.integers(0, 3)) == 0:
        return draw(of_blocks())
    maximum = draw(st.integers(1, 250))
    if draw(st.booleans()):
        return Policy(size=draw(st.integers(1, 250)), maximum=maximum)
    min_free, batch = draw(st.integers(0, 30)), draw(st.integers(1, 40))
    return Policy(min_free=min_free, batch=batch, max_free=min_free + batch + draw(st.integers(0, 30)), maximum=maximum)


@st.composite
def of_blocks(draw):
    maximum, batch = draw(st.integers(16, 250)), 16 * draw(st.integers(1, 3))
    if draw(st.booleans()):
        return Policy(size=16 * draw(st.integers(1, 15)), maximum=maximum, blocks=28)
    min_free = draw(st.integers(0, 30))
    most = min_free + batch + draw(st.integers(0, 30))
    return Policy(min_free=min_free, batch=batch, max_free=most, maximum=maximum, blocks=28)


@dataclass
class Node:
    """A NIC that does as it is asked, a ledger, and an agent that asks for a grant before it takes."""

    configs: list[IPConfiguration]
    quota: int = 250
    requested: int = 0
    granted: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    now_s: float = 0.0
    since_s: float | None = None
    writes: int = 0

    @property
    def held(self) -> int:
        """Addresses for pods."""
        return view(self.configs).held

    def decide(self, policy: Policy, waiting: int = 0) -> Plan:
        self.ledger.apply(self.ledger.observe(view(self.configs), now_s=self.now_s).change)
        plan = next_step(
            self.ledger,
            view(self.configs),
            policy,
            waiting=waiting,
            now_s=self.now_s,
            surplus_since_s=self.since_s,
            granted=self.granted,
        )
        self.since_s = plan.surplus_since_s
        if plan.requested == self.requested:
            return plan
        self.requested, self.granted = plan.requested, min(plan.requested, self.quota)
        return self.decide(policy, waiting)

    def carry_out(self, plan: Plan, *, interrupted: bool = False) -> None:
        """`interrupted`: the agent dies after it noted the step and before Azure heard of it."""
        match plan.step:
            case Grow(add, size=size):
                assert add % size == 0
                if not interrupted:
                    first = 1024 + self.writes * 304
                    new = (block(first + n) if size > 1 else config(first + n) for n in range(0, add, size))
                    self.configs += new
                    self.writes += 1
            case Shrink(names=names, addresses=addresses):
                self.ledger.apply(self.ledger.release(addresses, now_s=self.now_s))
                if not interrupted:
                    self.configs = [one for one in self.configs if one.name not in names]
                    self.writes += 1
            case NoOp() | AwaitGrant() | WaitForAzure() | Rewrite():
                self.now_s += SHRINK_DELAY_S


@st.composite
def nodes(draw):
    """A node with pods, some of whose addresses cool, and some of whose configurations are others'."""
    held = draw(st.integers(0, 200))
    foreign = draw(st.integers(0, min(held, 20)))
    node = Node([adopted(n) for n in range(foreign)] + [config(n) for n in range(foreign, held)])
    ours = draw(st.lists(st.booleans(), max_size=(250 - held) // 16))
    node.configs += [block(5000 + 16 * n, name=None if of_us else f"other-{n}") for n, of_us in enumerate(ours)]
    held = node.held
    node.quota = draw(st.integers(held, 260))
    node.ledger.apply(node.ledger.observe(view(node.configs), now_s=0.0).change)
    pods = draw(st.integers(0, held))
    for pod in range(pods):
        node.ledger.apply(node.ledger.assign(holder(pod), now_s=0.0, at_limit=False))
    for pod in range(draw(st.integers(0, pods))):
        node.ledger.apply(node.ledger.unassign(holder(pod).sandbox, now_s=0.0))
    return node


def untouchable(node: Node) -> set:
    """Names that no shrink may take."""
    kept = {slot.config for slot in node.ledger.slots if slot.state in {State.ASSIGNED, State.COOLING}}
    return kept | {one.name for one in node.configs if not one.ours}


@settings(max_examples=150)
@given(nodes(), policies(), st.integers(0, 300), st.lists(st.booleans(), max_size=6))
def test_limits_hold_and_it_ends_at_the_target(node, policy, waiting, interruptions):
    kept = untouchable(node)
    before = node.held
    fate = iter(interruptions)
    for _ in range(12 + len(interruptions)):
        plan = node.decide(policy, waiting)
        held = node.held
        node.carry_out(plan, interrupted=next(fate, False))
        assert node.held <= max(held, min(node.granted, policy.maximum))
        assert view(node.configs).config_count <= MAX_CONFIGS_PER_NIC
        assert plan.requested >= held
        assert kept <= {one.name for one in node.configs}
        assert node.writes <= 1  # one write per change of mind
    plan, counts = node.decide(policy, waiting), node.ledger.counts()
    wanted = target(policy, assigned=counts.assigned, waiting=waiting, cooling=counts.cooling)
    size, held = policy.config_size, node.held
    assert plan.target == in_blocks(wanted, held=held, most=policy.maximum, size=size)
    if held < wanted:
        assert held == in_blocks(wanted, held=before, most=min(policy.maximum, node.quota), size=size)
    elif held > wanted:
        free_of_ours = [one for one in node.configs if one.name not in kept and one.size <= held - wanted]
        within = counts.free <= policy.max_free and held <= policy.maximum and policy.size is None
        assert within or not free_of_ours
    assert isinstance(plan.step, NoOp | AwaitGrant)


@settings(max_examples=150)
@given(nodes(), policies(), st.integers(0, 300))
def test_the_same_state_leads_to_the_same_step(node, policy, waiting):
    once = node.decide(policy, waiting)
    node.since_s = None
    assert node.decide(policy, waiting) == once


@settings(max_examples=150)
@given(policies(), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_target_covers_what_is_needed_or_is_at_its_bound(policy, assigned, waiting, cooling):
    wanted = target(policy, assigned=assigned, waiting=waiting, cooling=cooling)
    assert 1 <= wanted <= policy.maximum
    assert in_blocks(wanted, held=0, most=policy.maximum, size=policy.config_size) <= policy.maximum
    if policy.size is None:
        needed = assigned + waiting + cooling + policy.min_free
        assert wanted == policy.maximum or needed <= wanted < max(needed, 1) + policy.batch
        assert target(policy, assigned=assigned, waiting=waiting + 1, cooling=cooling) >= wanted


@settings(max_examples=100)
@given(policies(), st.integers(0, 240))
def test_a_pool_that_shrank_does_not_grow_again(policy, assigned):
    node = Node([config(n) for n in range(250)], granted=250)
    node.decide(policy)
    for pod in range(assigned):
        node.ledger.apply(node.ledger.assign(holder(pod), now_s=0.0, at_limit=False))
    steps = []
    for _ in range(8):
        plan = node.decide(policy)
        steps.append(type(plan.step))
        node.carry_out(plan)
    assert Grow not in steps
    assert steps.count(Shrink) <= 1


@st.composite
def lives(draw):
    """Pods that come and go, seconds that pass, and agents that die, by chance."""
    return draw(
        st.lists(st.tuples(st.sampled_from(("add", "delete", "wait", "die")), st.integers(0, 400)), max_size=60)
    )


@settings(max_examples=200)
@given(of_blocks(), lives())
def test_no_address_is_two_pods_and_no_block_leaves_with_a_living_pod(policy, life):
    """Whatever happens; and once all pods are gone, no more blocks are left than an empty pool has."""
    node, pods, number = Node([], granted=250), {}, 0
    for event, value in life:
        plan = node.decide(policy, waiting=event == "add")
        node.carry_out(plan, interrupted=event == "die")
        node.decide(policy)
        if event == "add" and node.ledger.counts().free:
            number += 1
            node.ledger.apply(node.ledger.assign(holder(number), now_s=node.now_s, at_limit=False))
            (slot,) = node.ledger.holding(holder(number).sandbox)
            assert slot.address not in pods.values()
            pods[number] = slot.address
        elif event == "delete" and pods:
            gone = sorted(pods)[value % len(pods)]
            node.ledger.apply(node.ledger.unassign(holder(gone).sandbox, now_s=node.now_s))
            del pods[gone]
        node.now_s += value if event == "wait" else 1.0
        node.ledger.apply(node.ledger.cooled(now_s=node.now_s))
        there = view(node.configs).addresses
        assert set(pods.values()) <= there
        assert all(one.size == BLOCK_SIZE for one in node.configs)
        assert len(there) == node.held <= policy.maximum
    for pod in pods:
        node.ledger.apply(node.ledger.unassign(holder(pod).sandbox, now_s=node.now_s))
    for _ in range(8):
        node.now_s += 2 * SHRINK_DELAY_S
        node.ledger.apply(node.ledger.cooled(now_s=node.now_s))
        node.carry_out(node.decide(policy))
    assert node.held <= max(
        policy.max_free, in_blocks(policy.size or policy.batch, held=0, most=policy.maximum, size=16)
    )
