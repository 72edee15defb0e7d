"""What happened: every change of a NIC's addresses, and every call.

The log of changes is for an observer that shares no code with the product: it alone shows how many
addresses each NIC held at any instant. `allocated` counts what the NIC takes from its subnet (from the acceptance of
the write until the operation that removes it has Succeeded), `effective` what works on the wire. Both count IP
configurations, the primary included; a block of sixteen counts as one, as Azure counts it against its limits.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `at` is in seconds of the fake's clock; `operation_id` "" when no operation made it."""

    at: float
    nic_id: str
    vm_name: str
    operation_id: str
    cause: str
    allocated_before: int
    allocated_after: int
    addresses_before: int
    addresses_after: int
    effective_before: int
    effective_after: int
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One request as answered; `status` 0 when the reply was lost."""

    at: float
    operation: str
    resource: str
    principal: str
    status: int


CALLS_KEPT = 100_000


@dataclass(slots=True)
class History:
    """Changes and writes of NICs are all kept; of the calls the last CALLS_KEPT, and the count of each operation."""

    changes: list[Change] = field(default_factory=list)
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))
    counts: Counter[str] = field(default_factory=Counter)
    writes: list[Call] = field(default_factory=list)
    """Every PUT of a NIC or of a scale set's instance, whatever it was answered."""

    def record(self, call: Call) -> None:
        self.calls.append(call)
        if call.operation in {"nic.put", "instance.put"}:
            self.writes.append(call)
        self.counts[call.operation] += 1

    def json_lines(self, since: int = 0) -> Iterator[bytes]:
        """The changes from the given index on, one JSON object and a newline each."""
        for change in self.changes[since:]:
            yield msgspec.json.encode(asdict(change)) + b"\n"
