"""Long-running operations: started by a write, ended when their time has come or by a newer write.

An operation is judged only when somebody looks: `settle(now)` ends, in the order of their time, all that are due, each
at its own instant, so that the outcome does not depend on when one looks. How long a real NIC write takes on a busy VM
is not documented; the duration is the test's choice.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from fakeazure.errors import ArmError
from fakeazure.names import Names

Status = Literal["InProgress", "Succeeded", "Failed", "Canceled"]
Leaves = Literal["previous", "half", "goal"]

KEPT = 50_000  # finished operations that can still be asked for
RETRY_AFTER_S = 10  # what a real NIC write answers (azure-powershell issue 14460)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an operation ends otherwise than well, and what it leaves on the NIC.

    "previous": as before it; "half": half of the additions and half of the removals done; "goal": the document shows
    what was asked for, in state Failed, and nothing of it works.
    """

    status: Literal["Failed", "Canceled"]
    error: ArmError
    leaves: Leaves = "previous"


@dataclass(slots=True)
class Operation:
    """`id` and `signature` make the URL that the client polls; `ending` is how it is fated to end."""

    id: str
    kind: str
    resource_id: str
    location: str
    due: float
    signature: dict[str, str]
    ending: Ending | None = None
    status: Status = "InProgress"
    error: ArmError | None = None

    def document(self) -> dict[str, object]:
        if self.error is None:
            return {"status": self.status}
        return {"status": self.status, **self.error.document()}

    def retry_after_s(self, now: float) -> int:
        """Whole seconds that a client should wait before it asks again; 0 when it need not."""
        return min(RETRY_AFTER_S, max(0, -int(-(self.due - now) // 1)))


SUPERSEDED = ArmError(
    409,
    "Canceled",
    "Operation was canceled.",
    (
        (
            "CanceledAndSupersededDueToAnotherOperation",
            "Operation was canceled and superseded by another operation on the same resource.",
        ),
    ),
)


@dataclass(slots=True)
class Operations:
    """All operations by id; `finish` is called once for each that ends by its own time."""

    names: Names
    finish: Callable[[Operation, float], None] = lambda _operation, _at: None
    wake: Callable[[], None] = lambda: None
    table: dict[str, Operation] = field(default_factory=dict)
    _due: list[tuple[float, int, Operation]] = field(default_factory=list)
    _order: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]

    def start(self, kind: str, resource_id: str, *, location: str, due: float, ending: Ending | None) -> Operation:
        signature = {
            "t": str(int(due * 10_000_000)),
            "c": self.names.word(24),
            "s": self.names.word(43),
            "h": self.names.word(43),
        }
        operation = Operation(self.names.guid(), kind, resource_id, location, due, signature, ending)
        self.table[operation.id] = operation
        heapq.heappush(self._due, (due, next(self._order), operation))
        while len(self.table) > KEPT and next(iter(self.table.values())).status != "InProgress":
            del self.table[next(iter(self.table))]
        self.wake()
        return operation

    def next_due(self) -> float | None:
        """The instant at which the next operation ends; None when none runs."""
        while self._due and self._due[0][2].status != "InProgress":
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def settle(self, now: float) -> None:
        """End all that are due."""
        while (due := self.next_due()) is not None and due <= now:
            _, _, operation = heapq.heappop(self._due)
            ending = operation.ending
            operation.status, operation.error = (ending.status, ending.error) if ending else ("Succeeded", None)
            self.finish(operation, due)

    def cancel(self, operation_id: str, error: ArmError, status: Literal["Failed", "Canceled"] = "Canceled") -> None:
        """End an operation before its time; its resource is the caller's concern. Unknown or ended: nothing."""
        operation = self.table.get(operation_id)
        if operation and operation.status == "InProgress":
            operation.status, operation.error = status, error
