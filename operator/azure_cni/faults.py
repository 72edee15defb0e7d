"""The last guard: an unexpected exception fails the one activity in which it was raised, and nothing else.

An activity raises its expected errors from `azure_cni.errors`. Any other exception is a fault of azure-cni, caused by
unexpected input: that node, VNet, pod or document is then not served, and all others are. So wherever one
activity begins (of the reconciler, a periodic task, a node's NIC operation, a round of grants, what a watch shows, a
request of the container runtime, a connection to the metrics port) `Faults.guard` makes an `InternalFault` of it, logs
the traceback once and counts it.

A cancellation that nobody asked of this task is such a fault: what the activity awaited was cancelled by somebody else.
It would silently end one task of a group, and the others would go on.

Two exceptions pass through and end the process, which restarts from what is on disk and in the API server: a lack of
memory, and a ledger that differs from its file (`node.stored_ledger.StoredLedger.damaged`). An exception outside an
activity, at the start or in the main loop of a process, ends it too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import extract_tb
from typing import Final

from azure_cni.errors import AzureCniError, InternalFault

log = logging.getLogger(__name__)

MOST_KINDS: Final = 256
"""Tracebacks that are logged by one process. A fault has its line in our source, so there are not many kinds."""
LONGEST_WORDS: Final = 200


class Faults:
    """The guard of one part of a process. `count` is called with the activity, for each fault."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._logged: set[tuple[str, str, str, int | None]] = set()

    @contextmanager
    def guard(self, activity: str, *, about: str = "") -> Iterator[None]:
        """Around one activity, `about` one object of many: InternalFault instead of what nobody foresaw."""
        try:
            yield
        except (AzureCniError, MemoryError):
            raise
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            raise self._fault(activity, error, about=about) from error
        except Exception as error:
            if isinstance(error, ExceptionGroup) and error.subgroup(MemoryError) is not None:
                raise
            raise self._fault(activity, error, about=about) from error

    def _fault(self, activity: str, error: BaseException, *, about: str) -> InternalFault:
        """Log and count it."""
        self._count(activity)
        frame = extract_tb(error.__traceback__)[-1]
        kind = (activity, type(error).__name__, frame.filename, frame.lineno)
        if kind not in self._logged and len(self._logged) < MOST_KINDS:
            self._logged.add(kind)
            log.error(
                "a fault in azure-cni: please report it with this traceback",
                extra={"activity": activity, "about": about},
                exc_info=error,
            )
        whose = f" of {about}" if about else ""
        return InternalFault(
            f"the activity {activity}{whose} failed with {type(error).__name__}: {str(error)[:LONGEST_WORDS]}; this is "
            "a fault in azure-cni: please report it with the traceback that its log has"
        )


def _is_cancelled() -> bool:
    """Somebody has cancelled the task that runs now, or a timeout has."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return True
    return task is None or task.cancelling() > 0
