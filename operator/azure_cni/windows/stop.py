"""How a process on Windows is asked to end: by events of its console, for it gets no signals.

The runtime starts a thread in each process of a HostProcess container that it stops, and the thread brings
CTRL_SHUTDOWN_EVENT to the process' handler (hcsshim, job containers; wincon.h). Windows ends the process as soon as the
handler returns from that, so it returns once the process has ended in order, or has had time enough.

Python's own handler, which is called after this one, makes KeyboardInterrupt of Ctrl-C. It is not reached: an agent
that somebody runs in a console ends in order, too. Where there is no console the runtime cannot ask, and ends the
process; that costs nothing but the answers that are under way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from threading import Event
from typing import Any, Final

from azure_cni.errors import AzureCniError

# wincon.h
CTRL_C: Final = 0
CTRL_BREAK: Final = 1
CTRL_CLOSE: Final = 2
CTRL_SHUTDOWN: Final = 6
_ENDING: Final = frozenset({CTRL_CLOSE, CTRL_SHUTDOWN})
"""After these Windows ends the process. Not of us: CTRL_LOGOFF_EVENT, of whoever logs off the node."""

LONGEST_S: Final = 30.0
"""As long as the kubelet gives the agent's pod (`terminationGracePeriodSeconds`)."""

_HANDLER: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32)
"""PHANDLER_ROUTINE. A 64-bit Windows has one calling convention."""


class StopEvents:
    """Calls `stop` when the process is asked to end, from another thread, until `ended` is called."""

    def __init__(self, library: Any, stop: Callable[[], object], *, longest_s: float = LONGEST_S) -> None:
        """`library` is kernel32.dll. AzureCniError."""
        self._stop = stop
        self._longest_s = longest_s
        self._over = Event()
        self._handler = _HANDLER(self._handle)
        """Kept, for Windows keeps its address alone."""
        if not library.SetConsoleCtrlHandler(self._handler, 1):
            raise AzureCniError("cannot set a handler for the end of the process: SetConsoleCtrlHandler refuses it")

    def ended(self) -> None:
        """All is done: a handler that waits returns, and Windows may end the process."""
        self._over.set()  # the handler stays: an event that comes later finds nothing to wait for

    def _handle(self, event: int) -> int:
        """Runs in a thread that Windows starts. Returns 0 for what is the next handler's."""
        if event not in _ENDING | {CTRL_C, CTRL_BREAK}:
            return 0
        if self._over.is_set():
            return 1
        self._stop()
        if event in _ENDING:
            self._over.wait(self._longest_s)
        return 1
