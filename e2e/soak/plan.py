"""What happens in a run, and when: drawn from its seed, so that a run that failed can be repeated.

Kinds of faults come in rounds, each round in an order of its own: a run of any length has tried all kinds about equally
often. A fault that ends an agent's process befalls the last node only: the agent of the first one lives as long as the
run, and what it takes in memory and descriptors can be compared.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PAUSE_S = (1.0, 4.0)
"""Between the end of one fault and the next."""
WAVE_S = 20.0
"""How long a node keeps one number of pods."""
FEWEST, MOST = 3, 18
"""Pods of one node. A pool at rest has 16 addresses: it grows for the most, and shrinks for the fewest."""
LIVES_S = (2.0, 25.0)
HASTY = 0.1
"""How many pods are deleted by their age, whether they have started or not: some DELs meet an unfinished ADD."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the plan has to know of a fault. `holds_s`: how long it is there, at least and at most."""

    name: str
    holds_s: tuple[float, float] = (2.0, 6.0)
    anywhere: bool = True
    """False: on the last node only, because an agent's process ends."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: how long it is there, and how long nothing happens afterwards. `node` is an index."""

    number: int
    kind: str
    node: int
    hold_s: float
    pause_s: float


def plan(kinds: Sequence[Kind], *, nodes: int, seed: int) -> Iterator[Planned]:
    """Faults without end, all kinds in each round."""
    chance = random.Random(seed)
    number = 0
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            number += 1
            node = chance.randrange(nodes) if kind.anywhere else nodes - 1
            hold_s, pause_s = chance.uniform(*kind.holds_s), chance.uniform(*PAUSE_S)
            yield Planned(number, kind.name, node, round(hold_s, 1), round(pause_s, 1))


def wanted(seed: int, node: int, at_s: float) -> int:
    """How many pods a node should have that long after the beginning."""
    return random.Random(f"{seed}/{node}/{int(at_s // WAVE_S)}").randint(FEWEST, MOST)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a pod lives: from when it was asked for if it is hasty, else from when it was ready."""

    seconds: float
    hasty: bool


def lifetime(seed: int, number: int) -> Lifetime:
    """That of the pod of this number."""
    chance = random.Random(f"{seed}/pod/{number}")
    return Lifetime(round(chance.uniform(*LIVES_S), 1), chance.random() < HASTY)
