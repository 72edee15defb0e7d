"""The judge of a run: given every change of a NIC and of every version of the ledger, it finds the first wrong one.

It shares no code with the product, and knows of it only what Azure and the API server hold. It counts addresses: a
block has sixteen, whatever it counts as for Azure. The limits are judged at each change alone. That a NIC holds no more
than its ledger entry says needs both histories, which reach us by two ways, each a little late: an entry counts if it
stood at any time within `grace_s` of the NIC's change, and a lowered entry is wrong if the NIC held more all that time.

IPv6 is judged apart: the addresses that are counted are those of IPv4. But both families share the ipConfigurations
that a NIC may have, no address of IPv6 works on two NICs at once, and a NIC has one block of them.

Writes are counted as Azure gets them, refused ones too. Each must have been granted: as many answers to requests for
a write must have stood in the node's pool by then. And they must fit the budget of all nodes together.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network

MINUTE_S = 60.0
LATE_GRACES = 5
"""Writes that were granted over a minute and that many graces may reach Azure within one minute: a busy machine has
nodes hear of answers late, and Azure take in writes late, of many at once."""
CONFIGURATIONS = 256  # Azure documentation, limits: private addresses of a NIC, of both families, blocks as one
PER_NIC = 250  # Azure documentation, container networking: addresses for pods of one VM


@dataclass(frozen=True, slots=True)
class Violation:
    """What was wrong, and when (simulated seconds since the beginning)."""

    at_s: float
    rule: str
    what: str

    def __str__(self) -> str:
        return f"at {self.at_s:.1f} s: {self.rule}: {self.what}"


@dataclass(slots=True)
class Bucket:
    """A token bucket of Azure's: `most` writes at once after a pause, and `per_minute`. It is full at first."""

    most: int
    per_minute: int
    _tokens: float = field(init=False)
    _at_s: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = float(self.most)

    def take(self, at_s: float) -> bool:
        """One write; False when it was one too many."""
        gained = max(0.0, at_s - self._at_s) * self.per_minute / MINUTE_S
        self._tokens = min(float(self.most), self._tokens + gained)
        self._at_s = max(self._at_s, at_s)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def instance_bucket() -> Bucket:
    """Of one instance of a scale set (Azure documentation, compute throttling limits, as the next)."""
    return Bucket(most=12, per_minute=4)


def subscription_bucket() -> Bucket:
    """Of all instances of scale sets in a subscription and region."""
    return Bucket(most=1500, per_minute=500)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: that many addresses for the NIC of that name."""

    count: int
    nic: str


@dataclass(slots=True)
class _Line:
    """How one number changed, oldest first."""

    points: list[tuple[float, int]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.points[-1][1] if self.points else 0

    def within(self, from_s: float, to_s: float) -> list[int]:
        """All values that it had in that time."""
        before = [value for at_s, value in self.points if at_s <= from_s]
        return [before[-1] if before else 0, *(value for at_s, value in self.points if from_s < at_s <= to_s)]


class Judge:
    """Given in any order of the two histories, each in its own order. `limit` is the VNet's; writes are of NICs."""

    def __init__(self, *, limit: int, grace_s: float, writes_per_minute: int) -> None:
        self.limit = limit
        self.writes_per_minute = writes_per_minute
        self.violations: list[Violation] = []
        self.most_on_nics = 0
        """The most addresses that all NICs ever held together."""
        self._grace_s = grace_s
        self._nics: dict[str, _Line] = defaultdict(_Line)
        self._entries: dict[str, _Line] = defaultdict(_Line)
        self._on_nics = 0
        self._ipv6: dict[str, set[IPv6Network]] = defaultdict(set)
        self._granted_writes: dict[str, list[float]] = defaultdict(list)
        self._writes: dict[str, list[float]] = defaultdict(list)
        self._instances: dict[str, Bucket] = defaultdict(instance_bucket)
        self._of_subscription = subscription_bucket()
        self._lately: deque[float] = deque()
        self._unjudged: deque[tuple[float, str, int]] = deque()
        """Writes that a grant may still become known for: when, of which NIC, and how many it had then."""
        self._due: deque[tuple[float, str, int | None, int | None]] = deque()

    @property
    def most_in_a_minute(self) -> int:
        """Writes that may reach Azure within any minute, late ones included."""
        return int(self.writes_per_minute * (MINUTE_S + LATE_GRACES * self._grace_s) / MINUTE_S)

    @property
    def on_nics(self) -> int:
        """Addresses for pods on all NICs now."""
        return self._on_nics

    @property
    def granted(self) -> int:
        """The sum of the ledger now."""
        return sum(line.last for line in self._entries.values())

    def held_by(self, nic: str) -> int:
        """Addresses for pods on that NIC now."""
        return self._nics[nic].last

    def nic_changed(self, at_s: float, nic: str, count: int) -> None:
        """A NIC holds that many addresses for pods from now on: all but its primary one."""
        line = self._nics[nic]
        before = line.last
        self._on_nics += count - before
        line.points.append((at_s, count))
        self.most_on_nics = max(self.most_on_nics, self._on_nics)
        if self._on_nics > self.limit and count > before:
            self._wrong(at_s, "the VNet's limit", f"{self._on_nics} addresses on NICs, {self.limit} allowed")
        if count > PER_NIC:
            self._wrong(at_s, "the limit of a NIC", f"{count} addresses on {nic}, {PER_NIC} allowed")
        if count > before:
            self._due.append((at_s, nic, count, None))

    def configured(self, at_s: float, nic: str, count: int) -> None:
        """A NIC holds that many ipConfigurations from now on, of both families, its primary one included."""
        if count > CONFIGURATIONS:
            words = f"{count} ipConfigurations on {nic}, {CONFIGURATIONS} allowed"
            self._wrong(at_s, "the limit of a NIC", words)

    def ipv6_changed(self, at_s: float, nic: str, *, appeared: Iterable[str], vanished: Iterable[str]) -> None:
        """These addresses and blocks of IPv6 work on a NIC from now on, or no more."""
        here = self._ipv6[nic]
        here -= set(map(IPv6Network, vanished))
        for network in map(IPv6Network, appeared):
            for other, held in self._ipv6.items():
                if any(network.overlaps(one) for one in held):
                    self._wrong(at_s, "one holder of each address", f"{network} appears on {nic}, {other} has it")
            here.add(network)
        if sum(one.num_addresses > 1 for one in here) > 1:
            self._wrong(at_s, "one IPv6 block of a NIC", f"{nic} has {', '.join(sorted(map(str, here)))}")

    def ipv6_of(self, nic: str) -> int:
        """How many addresses of IPv6 a NIC has, those of its block included."""
        return sum(one.num_addresses for one in self._ipv6[nic])

    def ledger_changed(self, at_s: float, entries: Mapping[str, Entry], *, limit: int) -> None:
        """A version of the ledger was written, under that limit; entries of no NIC yet are for nobody."""
        total = sum(entry.count for entry in entries.values())
        if total > limit:
            self._wrong(at_s, "the ledger's limit", f"{total} addresses granted, {limit} allowed")
        for name, entry in entries.items():
            if entry.count > PER_NIC:
                self._wrong(at_s, "the limit of a NIC", f"{entry.count} granted to {name}, {PER_NIC} allowed")
        counts: dict[str, int] = defaultdict(int)
        for entry in entries.values():
            counts[entry.nic] = max(counts[entry.nic], entry.count)
        for nic in self._entries.keys() | counts.keys():
            line, count = self._entries[nic], counts.get(nic, 0)
            if count != line.last:
                if count < line.last:
                    self._due.append((at_s, nic, None, count))
                line.points.append((at_s, count))

    def write_granted(self, at_s: float, nic: str) -> None:
        """The node of the NIC of that name got an answer that allows one write."""
        self._granted_writes[nic].append(at_s)

    def nic_written(self, at_s: float, nic: str) -> None:
        """Azure got a write of the NIC of that name, whatever it answered."""
        writes = self._writes[nic]
        writes.append(at_s)
        self._unjudged.append((at_s, nic, len(writes)))
        self._lately.append(at_s)
        while self._lately[0] <= at_s - MINUTE_S:
            self._lately.popleft()
        if len(self._lately) > self.most_in_a_minute:
            words = (
                f"{len(self._lately)} writes in a minute; {self.writes_per_minute} are granted in one, "
                f"and {self.most_in_a_minute} with those that come late"
            )
            self._wrong(at_s, "the write budget", words)

    def instance_written(self, at_s: float, instance: str) -> None:
        """That write was of an instance of a scale set: Azure has a bucket for it, and one for all of them."""
        if not self._instances[instance].take(at_s):
            self._wrong(at_s, "Azure's limit of an instance", f"a write of {instance} for which Azure has no token")
        if not self._of_subscription.take(at_s):
            words = f"a write of {instance}, and all instances together have no token left"
            self._wrong(at_s, "Azure's limit of a subscription", words)

    def _look_at_writes(self, now_s: float) -> None:
        while self._unjudged and self._unjudged[0][0] + self._grace_s <= now_s:
            at_s, nic, count = self._unjudged.popleft()
            grants = sum(grant_s <= at_s + self._grace_s for grant_s in self._granted_writes[nic])
            if count > grants:
                self._wrong(at_s, "a grant for each write", f"write {count} of {nic}, with {grants} grants")

    def look(self, now_s: float) -> None:
        """Judge what both histories show by now."""
        self._look_at_writes(now_s)
        for _ in range(len(self._due)):
            at_s, nic, held, entry = self._due.popleft()
            if at_s + self._grace_s > now_s:
                self._due.append((at_s, nic, held, entry))
                continue
            from_s, to_s = at_s - self._grace_s, at_s + self._grace_s
            if held is not None:
                allowed = max(self._entries[nic].within(from_s, to_s))
                if held > allowed:
                    self._wrong(at_s, "reserve before write", f"{held} addresses on {nic}, its entry says {allowed}")
            elif entry is not None and (least := min(self._nics[nic].within(from_s, to_s))) > entry:
                self._wrong(at_s, "lower after release", f"the entry of {nic} is lowered to {entry}, it holds {least}")

    def _wrong(self, at_s: float, rule: str, what: str) -> None:
        self.violations.append(Violation(at_s, rule, what))
