"""The life of each pod of a run, as the API server shows it: when it was asked for, ready, deleted and gone.

Times are seconds of one clock. The log also finds two pods that have one address: both run, and neither is ending.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from soak.plan import Lifetime


@dataclass(slots=True)
class Life:
    """One pod. `None`: not yet."""

    name: str
    node: str
    lifetime: Lifetime
    asked_s: float
    ready_s: float | None = None
    deleted_s: float | None = None
    gone_s: float | None = None
    address: str = ""
    ending: bool = False
    """The API server says that it ends, or has ended."""

    @property
    def started(self) -> bool:
        return self.ready_s is not None

    @property
    def took_s(self) -> float:
        """From when it was asked for to ready."""
        return (self.ready_s or self.asked_s) - self.asked_s

    def due(self, at_s: float) -> bool:
        """Whether it has lived as long as it should, and nobody has deleted it."""
        since_s = self.asked_s if self.lifetime.hasty else self.ready_s
        return self.deleted_s is None and since_s is not None and at_s - since_s >= self.lifetime.seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod as the API server shows it."""

    name: str
    address: str
    ready: bool
    ending: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pods that had one address at a time."""

    first: str
    second: str
    address: str

    def __str__(self) -> str:
        return f"{self.first} and {self.second} have {self.address}"


@dataclass(slots=True)
class PodLog:
    """All pods of a run."""

    lives: dict[str, Life] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    bereft: set[str] = field(default_factory=set)
    """Pods whose address a tool took off the NIC and Azure gave to another node, as their pool said."""

    @property
    def shared(self) -> list[Pair]:
        """The pairs that no tool made: this product gave both the address."""
        return [pair for pair in self.pairs if self.bereft.isdisjoint({pair.first, pair.second})]

    def ask(self, life: Life) -> None:
        """A pod is asked for."""
        self.lives[life.name] = life

    def see(self, pod: Seen, *, at_s: float) -> None:
        """The API server shows a pod; one that nobody asked for is none of this run."""
        life = self.lives.get(pod.name)
        if life is None or life.gone_s is not None:
            return
        life.ending = life.ending or pod.ending
        if pod.ready and not life.ending and life.ready_s is None:
            life.ready_s = at_s
        if pod.address and pod.address != life.address:
            life.address = pod.address
            self._compare(life)

    def go(self, name: str, *, at_s: float) -> None:
        """A pod is gone."""
        if (life := self.lives.get(name)) is not None and life.gone_s is None:
            life.gone_s, life.ending = at_s, True

    def see_all(self, pods: Iterable[Seen], *, asked_s: float, at_s: float) -> None:
        """A list of all pods, which was asked for at `asked_s`: what it lacks and was there before is gone.

        First what is over, then addresses: an address may have changed hands while nobody looked.
        """
        shown = {pod.name: pod for pod in pods}
        for life in self.alive():
            if life.name not in shown and life.asked_s < asked_s:
                self.go(life.name, at_s=at_s)
        for pod in shown.values():
            if pod.ending and pod.name in self.lives:
                self.lives[pod.name].ending = True
        for pod in shown.values():
            self.see(pod, at_s=at_s)

    def alive(self, node: str = "") -> list[Life]:
        """Those that are not gone, of one node or of all."""
        return [life for life in self.lives.values() if life.gone_s is None and node in {"", life.node}]

    def started_since(self, node: str, at_s: float) -> int:
        """How many of a node's pods were asked for after that and have started."""
        return sum(life.started for life in self.lives.values() if life.node == node and life.asked_s >= at_s)

    def _compare(self, life: Life) -> None:
        if life.ending:
            return
        self.pairs.extend(
            Pair(other.name, life.name, life.address)
            for other in self.alive()
            if other.address == life.address and other.name != life.name and not other.ending
        )
