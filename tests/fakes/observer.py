"""What agents and controllers measure, kept for the test to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class RecordingObserver:
    """Implements the `Observer` port of `azure_cni.node.ports` and of `azure_cni.cluster.ports`."""

    recorded: list[tuple[Any, ...]] = field(default_factory=list)
    """Each call, as its name and what it was given."""
    containers: list[str] = field(default_factory=list)
    """Of each CNI request, what was said of its container."""

    def cni(self, verb: str, code: int, seconds: float, *, container_id: str = "") -> None:
        self.recorded.append(("cni", verb, str(code)))
        self.containers.append(container_id)

    def stage(self, stage: str, seconds: float) -> None:
        self.recorded.append(("stage", stage))

    def azure(self, operation: str, code: str, seconds: float) -> None:
        self.recorded.append(("azure", operation, code))

    def reconciled(self, result: str) -> None:
        self.recorded.append(("reconciled", result))

    def repaired(self, kind: str) -> None:
        self.recorded.append(("repaired", kind))

    def recalled(self, addresses: int) -> None:
        self.recorded.append(("recalled", str(addresses)))

    def granted(self, result: str) -> None:
        self.recorded.append(("granted", result))

    def ledger_written(self, result: str) -> None:
        self.recorded.append(("ledger", result))

    def round(self, seconds: float) -> None:
        self.recorded.append(("round", seconds))

    def reclaimed(self, result: str) -> None:
        self.recorded.append(("reclaimed", result))

    def throttled(self, seconds: float) -> None:
        self.recorded.append(("throttled", seconds))

    def internal_error(self, activity: str) -> None:
        self.recorded.append(("internal_error", activity))
