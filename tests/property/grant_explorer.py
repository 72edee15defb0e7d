"""Walks through every state of a `grant_world`, breadth first: a way past a limit that it finds is a shortest one.

A state is one number, made of the numbers of its five parts: node, node, ledger, and what two controllers remember.
What a part can do is worked out once for each of its own states and kept: that makes millions of states affordable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from azure_cni.ipam.grants import Answer, Reserve, TakeBack, Unchanged
from azure_cni.quota.recalls import KEPT
from property.grant_controllers import (
    FIRST_LEDGER,
    FoundGone,
    Ledger,
    OldEntry,
    OldPool,
    TakesBack,
    entry_changed,
    node_came_back,
    pool_changed,
    reclaims,
    still_reclaims,
    with_entry,
    writes_ledger,
    writes_pool,
)
from property.grant_recalls import Wishes, all_wishes, recalled
from property.grant_world import (
    NO_ENTRY,
    Node,
    Rules,
    Size,
    answered,
    at_rest,
    came_back,
    first_node,
    is_quiet,
    node_moves,
    taken_back,
    towards,
)

NOTHING = 0
ROUNDS = 20
PART = 16  # bits of each part's number
LOW = (1 << PART) - 1
HERE = (1 << 3 * PART) - 1  # nodes and ledger


class Numbered:
    """Values by number, in the order in which they were met."""

    def __init__(self, first: object) -> None:
        self.values = [first]
        self._numbers = {first: 0}

    def __call__(self, value: object) -> int:
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            assert number <= LOW
            self.values.append(value)
        return number


class Table(dict):
    """What was worked out once."""

    def __init__(self, work: Callable) -> None:
        self._work = work

    def __missing__(self, key: object) -> object:
        self[key] = found = self._work(key)
        return found


@dataclass(frozen=True)
class Found:
    """What a walk found: how many states, and if one of them breaks P5, how and by which way."""

    states: int
    wrong: str = ""
    way: tuple[str, ...] = ()

    def __str__(self) -> str:
        steps = [f"  {number:2} {step}" for number, step in enumerate(self.way, 1)]
        return "\n".join([f"{self.states:,} states: {self.wrong or 'no way past a limit'}", *steps])


class Explorer:
    """All states of one world, once `walk` has met them."""

    def __init__(self, rules: Rules, size: Size) -> None:
        self.rules, self.size = rules, size
        self._nodes, self._ledgers, self._memories = Numbered(first_node()), Numbered(FIRST_LEDGER), Numbered(None)
        self._effects = Numbered(None)
        self._came_from: dict[int, int] = {}
        self._alone = Table(lambda key: list(self._moves_of_node(*key)))
        self._fresh = Table(lambda key: list(self._moves_on_fresh_reads(*key)))
        self._recalled = Table(lambda key: list(self._moves_from_memory(*key)))
        self._joint = Table(lambda key: self._memories_after(*key))
        self._wrong = Table(self._wrong_of)
        self._settled = Table(lambda key: self._controlled(*key))
        self._towards = Table(lambda key: towards(*key, self.rules))

    def walk(self) -> Found:
        """Every state that can be reached, until one breaks P5."""
        came_from = self._came_from = {0: -1}
        frontier = [0]
        while frontier:
            met = []
            for state in frontier:
                for _, after in self._moves(state):
                    if after not in came_from:
                        came_from[after] = state
                        met.append(after)
                        if self._wrong[after & HERE]:
                            return Found(len(came_from), self._wrong[after & HERE], self._way(after))
            frontier = met
        return Found(len(came_from))

    def starving(self) -> tuple[int, str]:
        """From how many states of rest was followed what comes of it; and from which one a node is not served.

        Every state met has a state of rest ahead: whoever is at work can stop, what is under way can end, and neither
        needs anybody else. From there on nobody fails any more, and the nodes want what they want: for pods, and beyond
        that to keep it ready.
        """
        served: set[tuple[Node, Node, Ledger, Wishes]] = set()
        cores = {self._core(state): state for state in self._came_from if state < HERE and self._is_quiet(state)}
        for (*nodes, ledger), state in cores.items():
            for wishes in all_wishes(self.size):
                if stuck := self._follow(nodes, ledger, wishes, served):
                    return len(cores), "\n".join([*self._way(state), stuck])
        return len(cores), ""

    def _core(self, state: int) -> tuple[Node, Node, Ledger]:
        n0, n1, ledger, *_ = _parts(state)
        pairs = zip((n0, n1), self._ledgers.values[ledger], strict=True)
        (node0, entry0), (node1, entry1) = (at_rest(self._nodes.values[node], entry) for node, entry in pairs)
        return node0, node1, (entry0, entry1)

    def _follow(self, nodes: list[Node], ledger: Ledger, wishes: Wishes, served: set) -> str:
        nodes, met = list(nodes), []
        for _ in range(ROUNDS):
            met.append(key := (*nodes, ledger, wishes))
            if key in served:
                served.update(met)
                return ""
            for index in (0, 1):
                node = self._towards[nodes[index], wishes.wanted(index)]
                nodes[index], ledger = self._settled[node, ledger, index]
            wishes = recalled(nodes, ledger, wishes, self.size)
            if key == (*nodes, ledger, wishes):
                served.update(met)
                return self._unserved(nodes, ledger, wishes)
        return f"{wishes}: no end after {ROUNDS} rounds: {nodes} {ledger}"

    def _controlled(self, node: Node, ledger: Ledger, index: int) -> tuple[Node, Ledger]:
        """What a controller makes of it that nobody disturbs."""
        for _, reclaimed in reclaims(index, node, ledger):
            ledger = reclaimed
        for _ in range(8):
            match self._decision(node, ledger, index):
                case Unchanged():
                    return node, ledger
                case Reserve(entry=entry):
                    ledger = with_entry(ledger, index, entry)
                case Answer() as answer:
                    node = answered(node, answer, self.rules)
                case TakeBack() as back:
                    node, ledger = taken_back(node, back, self.rules), with_entry(ledger, index, back.entry)
        return node, ledger

    def _decision(self, node: Node, ledger: Ledger, index: int):
        room = self.rules.ceiling(limit=self.size.limit, per_node=self.size.per_node, others=ledger[1 - index].count)
        return self.rules.decide(node.pool, ledger[index], ceiling=room)

    def _unserved(self, nodes: list[Node], ledger: Ledger, wishes: Wishes) -> str:
        for index, node in enumerate(nodes):
            wanted = 0 if node.gone else wishes.wanted(index)
            short = wanted - node.nic
            other, needed = nodes[1 - index], 0 if node.gone else wishes.of(index).need
            idle = other.nic - max(KEPT, wishes.of(1 - index).need)
            if node.nic < needed and idle > 0 and not other.gone:
                return f"node {index} needs {needed}, holds {node.nic}, and the other has {idle} idle: {wishes}"
            if node.nic != ledger[index].count:
                return f"node {index} wants {wanted}, holds {node.nic} and keeps {ledger[index].count}"
            if self._decision(node, ledger, index) != Unchanged():
                return f"node {index} wants {wanted}, holds {node.nic}, and has no answer"
            if short and sum(entry.count for entry in ledger) < self.size.limit:
                return f"node {index} wants {wanted}, holds {node.nic}, and there is room"
        return ""

    def _is_quiet(self, state: int) -> bool:
        return all(is_quiet(self._nodes.values[part]) for part in _parts(state)[:2])

    def _wrong_of(self, nodes_and_ledger: int) -> str:
        n0, n1, number, *_ = _parts(nodes_and_ledger)
        ledger = self._ledgers.values[number]
        if sum(entry.count for entry in ledger) > self.size.limit:
            return f"the entries {[entry.count for entry in ledger]} sum to more than {self.size.limit}"
        for index, node in enumerate((n0, n1)):
            most = self._nodes.values[node].most
            if most > ledger[index].count:
                return f"node {index} holds or could come to hold {most}, and its entry is {ledger[index].count}"
        return ""

    def _way(self, state: int) -> tuple[str, ...]:
        way: list[str] = []
        while (before := self._came_from[state]) >= 0:
            way.append(next(label for label, after in self._moves(before) if after == state))
            state = before
        return tuple(reversed(way))

    # What can happen next to a whole state: labels and states.

    def _moves(self, state: int) -> list[tuple[str, int]]:
        n0, n1, ledger, m0, m1 = _parts(state)
        here, joint = state & HERE, self._joint
        found = []
        for moves in (self._alone[n0, 0], self._alone[n1, 1], self._fresh[n0, ledger, 0], self._fresh[n1, ledger, 1]):
            for label, change, effect, then in moves:
                if effect == then == NOTHING:
                    found.append((label, state + change))
                else:
                    found += [(label, here + change | pair) for pair in joint[effect, then, m0, m1, False]]
        for memory, other in ((m0, m1), (m1, m0)):
            if memory == NOTHING:
                break  # the first is never the smaller one
            node = n1 if self._memories.values[memory].node else n0
            for label, change, effect, then in self._recalled[memory, node, ledger]:
                found += [(label, here + change | pair) for pair in joint[effect, then, memory, other, True]]
        return found

    def _memories_after(self, effect: int, then: int, memory: int, other: int, mine: bool) -> tuple[int, ...]:  # noqa: FBT001
        """Who may remember what after a move: of the two, the first made it if it is `mine`, else somebody else."""
        others = self._after(effect, other)
        if mine:
            pairs = list(product({then, NOTHING}, others))
        else:
            pairs = list(product(self._after(effect, memory), others))
            if then != NOTHING:  # whoever made it may be one who remembered nothing until now
                pairs += [(then, one) for one in others] if memory == NOTHING else []
                pairs += [(then, one) for one in self._after(effect, memory)] if other == NOTHING else []
        return tuple({(max(pair) | min(pair) << PART) << 3 * PART for pair in pairs})

    def _after(self, effect: int, memory: int) -> tuple[int, ...]:
        if effect == NOTHING:
            return (memory,)
        changed, *how = self._effects.values[effect]
        return tuple(self._memories(after) for after in changed(self._memories.values[memory], *how, self.rules))

    # What can happen next to a part: label, what it adds to the state, its effect on the memories, and what is
    # remembered by the one who made it.

    def _moves_of_node(self, number: int, index: int) -> Iterator[tuple[str, int, int, int]]:
        node = self._nodes.values[number]
        size = self.size
        moves = node_moves(node, self.rules, highest=size.numbers[index], most=size.per_node, mortal=size.mortal)
        for label, after in moves:
            yield f"node {index} {label}", *self._node_changes(number, after, index), NOTHING

    def _moves_on_fresh_reads(self, number: int, ledger: int, index: int) -> Iterator[tuple[str, int, int, int]]:
        node, entries = self._nodes.values[number], self._ledgers.values[ledger]
        for label, after in writes_ledger(index, node.pool, entries, self.rules, self.size):
            yield label, *self._ledger_changes(ledger, after, number, index), NOTHING
        for label, then, after in writes_pool(index, node, entries[index], self.rules):
            yield label, *self._node_changes(number, after, index), self._memories(then)
        for label, after in reclaims(index, node, entries):
            yield label, *self._ledger_changes(ledger, after, number, index), NOTHING
        if node.gone:
            back, entry = self._nodes(came_back(node)) - number << PART * index, entries[index]
            effect = NOTHING if entry == NO_ENTRY else self._effects((node_came_back, index, entry))
            yield f"node {index} comes back", back, effect, NOTHING

    def _moves_from_memory(self, memory: int, number: int, ledger: int) -> Iterator[tuple[str, int, int, int]]:
        yield "controller stops", 0, NOTHING, NOTHING
        index = self._memories.values[memory].node
        match self._memories.values[memory]:
            case OldPool(pool=pool):
                for label, after in writes_ledger(index, pool, self._ledgers.values[ledger], self.rules, self.size):
                    yield f"{label} (old pool)", *self._ledger_changes(ledger, after, number, index), memory
            case OldEntry(entry=entry):
                for label, then, after in writes_pool(index, self._nodes.values[number], entry, self.rules):
                    kept = memory if then is None or self.rules.take_back_guarded else self._memories(then)
                    yield f"{label} (old entry)", *self._node_changes(number, after, index), kept
            case FoundGone() as found:
                for label, after in still_reclaims(found, self._ledgers.values[ledger]):
                    yield label, *self._ledger_changes(ledger, after, number, index), NOTHING
            case TakesBack(entry=entry):
                after = with_entry(self._ledgers.values[ledger], index, entry)
                label = f"controller lowers node {index}'s entry to {entry.count} for #{entry.request_id}"
                yield label, *self._ledger_changes(ledger, after, number, index), NOTHING

    def _node_changes(self, number: int, after: Node, index: int) -> tuple[int, int]:
        before, then = self._nodes.values[number].pool, self._nodes(after)
        unnoticed = pool_changed(None, index, before, after.pool, self.rules) == (None,)
        effect = NOTHING if unnoticed else self._effects((pool_changed, index, before, after.pool))
        return then - number << PART * index, effect

    def _ledger_changes(self, ledger: int, after: Ledger, number: int, index: int) -> tuple[int, int]:
        entries = self._ledgers.values[ledger][index], after[index]
        pool = self._nodes.values[number].pool
        effect = NOTHING if entries[0] == entries[1] else self._effects((entry_changed, index, entries, pool))
        return self._ledgers(after) - ledger << 2 * PART, effect


def _parts(state: int) -> tuple[int, int, int, int, int]:
    return state & LOW, state >> PART & LOW, state >> 2 * PART & LOW, state >> 3 * PART & LOW, state >> 4 * PART
