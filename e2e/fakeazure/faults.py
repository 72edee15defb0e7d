"""Faults that a test injects: an effect, which requests it applies to, and how often.

    azure.faults.add(Refuse(errors...), operation="nic.put", resource="vm1-nic")    once
    azure.faults.add(FailOperation(leaves="half"), times=3)                         three times
    azure.faults.add(Throttled(), operation="nic.*", times=None, seconds=30)        until then, or until cleared

An operation is named as in the counts of calls ("nic.put", "operation.get", "imds.instance", ...), a resource by its
last name; both may be patterns with `*`. Each effect has the operation that it is usually meant for.
"""

import fnmatch
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

from fakeazure.errors import ArmError
from fakeazure.operations import Leaves


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with this error instead of doing anything."""

    error: ArmError
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class Throttled:
    """429; Retry-After is the time until the fault ends, or `retry_after_s`."""

    retry_after_s: int = 5
    usual: ClassVar[str] = "nic.*"


@dataclass(frozen=True, slots=True)
class Busy:
    """The resource is held by another operation: 429 RetryableError, or 409 AnotherOperationInProgress."""

    status: Literal[409, 429] = 429
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class Forbidden:
    """403 that names the action of the request, as if the role lacked it."""

    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class SubnetFull:
    """The subnet seems to be full, at once or when the operation is polled."""

    late: bool = False
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class NoIPv6Block:
    """A write that asks for a new IPv6 block is refused: as in a subscription or region that has none."""

    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class LostReply:
    """The connection drops; the request has been carried out when `applied`."""

    applied: bool = True
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class Silent:
    """The request is taken and never answered."""

    usual: ClassVar[str] = "imds.*"


@dataclass(frozen=True, slots=True)
class TouchedMeanwhile:
    """Another tool writes the NIC just before: an honest 412 for whoever sends If-Match."""

    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class SlowOperation:
    """The operation takes this long."""

    seconds: float
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class FailOperation:
    """The operation is accepted and ends badly."""

    leaves: Leaves = "previous"
    status: Literal["Failed", "Canceled"] = "Failed"
    code: str = "InternalServerError"
    message: str = "An error occurred."
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class NoEffect:
    """The write of a scale set's instance is accepted and Succeeds, and its NIC stays as it is; its model, too, unless
    it is `model` that takes the change.
    """

    model: bool = False
    usual: ClassVar[str] = "instance.put"


@dataclass(frozen=True, slots=True)
class Superseded:
    """Another tool writes the NIC just after, and cancels the operation; its body has our change in it or not."""

    keeps_ours: bool = True
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class Stale:
    """A read answers with the version before; `rested`: with the last one that no operation worked on."""

    rested: bool = False
    usual: ClassVar[str] = "nic.get"


@dataclass(frozen=True, slots=True)
class OddBody:
    """The request is answered with this status and body instead of being carried out."""

    content: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    usual: ClassVar[str] = "operation.get"


@dataclass(frozen=True, slots=True)
class Page:
    """A proxy or a firewall answers in Azure's place, with a page of its own."""

    status: int = 403
    content: bytes = b"<html><h1>Access denied</h1> by the policy of your organization</html>"
    server: str = "squid/5.7"
    usual: ClassVar[str] = "*"


@dataclass(frozen=True, slots=True)
class Relinked:
    """The request is carried out, and its answer has these links (headers) instead of Azure's."""

    links: Mapping[str, str]
    usual: ClassVar[str] = "nic.put"


@dataclass(frozen=True, slots=True)
class MetadataError:
    """The metadata service answers with this status: 410 (gone for up to 70 s), 429, 500."""

    status: int = 410
    usual: ClassVar[str] = "imds.*"


Effect = (
    Refuse | Throttled | Busy | Forbidden | SubnetFull | NoIPv6Block | LostReply | Silent | TouchedMeanwhile
    | SlowOperation | FailOperation | NoEffect | Superseded | Stale | OddBody | Page | Relinked | MetadataError
)  # fmt: skip
E = TypeVar("E", bound=Effect)


@dataclass(slots=True)
class Fault:
    """An effect that is in force; `times` left, None without end; `until` an instant of the clock."""

    id: int
    effect: Effect
    operation: str
    resource: str
    times: int | None
    until: float | None
    chance: float
    hits: int = 0

    def meets(self, operation: str, resource: str) -> bool:
        return fnmatch.fnmatchcase(operation, self.operation) and fnmatch.fnmatchcase(
            resource.lower(), self.resource.lower()
        )


@dataclass(slots=True)
class Faults:
    """The faults in force, oldest first."""

    now: Callable[[], float]
    chance: Callable[[], float]
    active: list[Fault] = field(default_factory=list)
    _ids: itertools.count = field(default_factory=lambda: itertools.count(1))  # type: ignore[type-arg]

    def add(
        self,
        effect: Effect,
        *,
        operation: str | None = None,
        resource: str = "*",
        times: int | None = 1,
        seconds: float | None = None,
        chance: float = 1.0,
    ) -> Fault:
        """Inject a fault: `times` occurrences (None: no end), at most for `seconds`, each with a probability."""
        until = None if seconds is None else self.now() + seconds
        fault = Fault(next(self._ids), effect, operation or effect.usual, resource, times, until, chance)
        self.active.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> None:
        """Take back one fault, or all."""
        self.active = [fault for fault in self.active if fault_id is not None and fault.id != fault_id]

    def take(self, kind: type[E], operation: str, resource: str) -> tuple[E, Fault] | None:
        """The first effect of this kind that befalls the call, used up once; None when there is none."""
        if not self.active:
            return None
        now = self.now()
        self.active = [fault for fault in self.active if fault.until is None or now < fault.until]
        for fault in self.active:
            if isinstance(fault.effect, kind) and fault.meets(operation, resource) and self.chance() < fault.chance:
                fault.hits += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self.active.remove(fault)
                return fault.effect, fault
        return None
