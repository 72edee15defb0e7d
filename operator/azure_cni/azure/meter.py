"""What this adapter tells of itself: a part of the node's observer, so that each caller need bring no more."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Hooks for measurements; must not block or raise. `azure_cni.node.ports.Observer` is one."""

    def azure(self, operation: str, code: str, seconds: float) -> None:
        """A call was answered: `nic.put`, `200` or Azure's error code or ours, after so long."""

    def throttled(self, seconds: float) -> None:
        """Azure asked to wait while an operation was being watched; all other throttling is told as Throttled."""
