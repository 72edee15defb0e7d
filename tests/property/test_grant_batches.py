"""Larger worlds than can be walked whole: many nodes, controllers that batch, each plan interrupted after every step.

The nodes are those of `grant_world`, with all that can go wrong with them, and some are deleted and come back. A
controller's plan is the obvious one: one write of the ledger for all that must be reserved and for all nodes that are
found gone, a write of each pool, one write of the ledger for all that is taken back; from a cache of pools that may be
old, and each write a compare-and-swap on the version that was read.
"""

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from azure_cni.ipam.grants import Answer, Decision, PoolView, QuotaEntry, Reserve, TakeBack, Unchanged, ceiling, decide
from property.grant_world import NO_ENTRY, Rules, came_back, first_node, node_moves, towards

OURS = Rules()
PER_NODE = 12
MANY = 10**6

Ledger = tuple[QuotaEntry, ...]


class Api:
    """The API server: versions, compare-and-swap, and its own check of the sum."""

    def __init__(self, nodes: int, limit: int) -> None:
        self.limit = limit
        self.nodes = [first_node()] * nodes
        self.ledger: Ledger = (QuotaEntry(0, 1),) * nodes
        self.version = 0

    def write_ledger(self, entries: dict[int, QuotaEntry], *, version: int) -> bool:
        ledger = tuple(entries.get(index, entry) for index, entry in enumerate(self.ledger))
        if version != self.version or sum(entry.count for entry in ledger) > self.limit:
            return False
        self.ledger, self.version = ledger, self.version + 1
        return True

    def write_pool(self, index: int, seen: PoolView, pool: PoolView) -> bool:
        """A pool that is as it was seen has the version that it was seen at, for its request's number never returns."""
        node = self.nodes[index]
        if node.pool != seen:
            return False
        self.nodes[index] = node._replace(pool=pool, late=node.late if pool == seen else None)
        return True


class Controller:
    """One replica: a cache of pools, and a plan that can be left at every step."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.refresh()

    def refresh(self) -> None:
        """Restart, or a watch that caught up."""
        self.pools = [node.pool for node in self.api.nodes]
        self.steps: Iterator[None] = iter(())

    def see(self, index: int) -> None:
        self.pools[index] = self.api.nodes[index].pool

    def step(self) -> bool:
        """Go on with the plan, or begin a new one; False when there is nothing to do."""
        for _ in range(2):
            for _ in self.steps:
                return True
            self.steps = self.plan()
        return False

    def plan(self) -> Iterator[None]:
        """Yields after each write, whether it succeeded or not."""
        ledger, version = self.api.ledger, self.api.version
        gone = {index: NO_ENTRY for index, node in enumerate(self.api.nodes) if node.gone and ledger[index] != NO_ENTRY}
        if gone:  # it took a while to find that out
            yield
        reserved = gone | self._reserved(tuple(gone.get(index, entry) for index, entry in enumerate(ledger)))
        if reserved:
            done = self.api.write_ledger(reserved, version=version)
            yield
            if not done:
                return
            ledger, version = self.api.ledger, version + 1
        lowered: dict[int, QuotaEntry] = {}
        for index in range(len(self.pools)):
            yield from self._answer(index, ledger, lowered)
        if lowered:
            self.api.write_ledger(lowered, version=version)
            yield

    def _answer(self, index: int, ledger: Ledger, lowered: dict[int, QuotaEntry]) -> Iterator[None]:
        """Answer one pool, or take back from it; `lowered` is what the ledger may say afterwards."""
        seen = self.pools[index]
        match self._decide(index, ledger):
            case Answer(granted=granted, granted_for=number):
                self._write(index, replace(seen, granted=granted, granted_for=number))
                yield
            case TakeBack(granted=granted, entry=entry):
                if self._write(index, replace(seen, granted=granted)):
                    lowered[index] = entry
                yield
            case Reserve() | Unchanged():
                pass

    def _write(self, index: int, pool: PoolView) -> bool:
        done = self.api.write_pool(index, self.pools[index], pool)
        if done:
            self.pools[index] = pool
        return done

    def _reserved(self, ledger: Ledger) -> dict[int, QuotaEntry]:
        """What one write of the ledger reserves, each entry decided on what those before it leave."""
        reserved = {}
        for index in range(len(ledger)):
            match self._decide(index, ledger):
                case Reserve(entry=entry):
                    reserved[index] = entry
                    ledger = (*ledger[:index], entry, *ledger[index + 1 :])
        return reserved

    def _decide(self, index: int, ledger: Ledger) -> Decision:
        others = sum(entry.count for entry in ledger) - ledger[index].count
        room = ceiling(limit=self.api.limit, per_node=PER_NODE, others=others)
        return decide(self.pools[index], ledger[index], ceiling=room)


class Granting(RuleBasedStateMachine):
    """Everything happens in any order."""

    @initialize(nodes=st.integers(2, 6), limit=st.integers(1, 40), controllers=st.integers(1, 3))
    def begin(self, nodes: int, limit: int, controllers: int) -> None:
        self.api = Api(nodes, limit)
        self.controllers = [Controller(self.api) for _ in range(controllers)]

    @rule(index=st.integers(0, 5), pick=st.integers(0, 400))
    def node_moves(self, index: int, pick: int) -> None:
        index %= len(self.api.nodes)
        moves = list(node_moves(self.api.nodes[index], OURS, highest=MANY, most=PER_NODE, mortal=True))
        if moves:
            self.api.nodes[index] = moves[pick % len(moves)][1]

    @rule(index=st.integers(0, 5))
    def node_comes_back(self, index: int) -> None:
        index %= len(self.api.nodes)
        if self.api.nodes[index].gone:
            self.api.nodes[index] = came_back(self.api.nodes[index])

    @rule(index=st.integers(0, 5), wanted=st.integers(0, PER_NODE))
    def node_goes_on_undisturbed(self, index: int, wanted: int) -> None:
        """Else few would ever hold much: an agent that nothing is under way of, up to where it must wait."""
        index %= len(self.api.nodes)
        node = self.api.nodes[index]
        if not node.flying and node.late is None:
            self.api.nodes[index] = towards(node, wanted, OURS)

    @rule(number=st.integers(0, 2), steps=st.integers(1, 8))
    def controller_goes_on(self, number: int, steps: int) -> None:
        controller = self.controllers[number % len(self.controllers)]
        for _ in range(steps):
            controller.step()
            self.nobody_is_past_a_limit()

    @rule(number=st.integers(0, 2), index=st.integers(0, 5))
    def controller_sees_one_pool(self, number: int, index: int) -> None:
        self.controllers[number % len(self.controllers)].see(index % len(self.api.nodes))

    @rule(number=st.integers(0, 2))
    def controller_restarts_or_catches_up(self, number: int) -> None:
        self.controllers[number % len(self.controllers)].refresh()

    @precondition(lambda self: hasattr(self, "api"))
    @invariant()
    def nobody_is_past_a_limit(self) -> None:
        assert sum(entry.count for entry in self.api.ledger) <= self.api.limit
        for node, entry in zip(self.api.nodes, self.api.ledger, strict=True):
            assert node.most <= entry.count

    def teardown(self) -> None:
        """Nobody fails any more: all are served, or the limit is used up."""
        if not hasattr(self, "api"):
            return
        wants = [(index * 5 + 3) % (PER_NODE + 1) for index in range(len(self.api.nodes))]
        controller = self.controllers[0]
        nodes = [came_back(node) if node.gone else node for node in self.api.nodes]
        self.api.nodes = [node._replace(flying=frozenset(), late=None) for node in nodes]
        for _ in range(12):
            self.api.nodes = [towards(node, wants[i], OURS) for i, node in enumerate(self.api.nodes)]
            controller.refresh()
            while controller.step():
                self.nobody_is_past_a_limit()
        held = [node.nic for node in self.api.nodes]
        assert held == [entry.count for entry in self.api.ledger]
        assert held == wants or (sum(held) == self.api.limit < sum(wants) and max(map(int.__sub__, held, wants)) <= 0)
        assert controller.step() is False


Granting.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestGranting = Granting.TestCase
