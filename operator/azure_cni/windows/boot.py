"""Since when a node runs: seconds since it booted, and whether an agent has run since then.

On Linux an agent's files are in /run, which a reboot clears. Windows has no such directory. It has keys of the registry
that are kept in memory alone (REG_OPTION_VOLATILE): the first agent after a reboot finds none, removes what an earlier
one left of pods, and then makes the key. The binary looks for it, too (system_windows.go). Functions, constants and
layouts: Microsoft documentation and headers, winreg.h and sysinfoapi.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from azure_cni.errors import AzureCniError

KEY: Final = r"SOFTWARE\azure-cni\boot"
_LOCAL_MACHINE: Final = 0x8000_0002
_READ: Final = 0x2_0019
_WRITE: Final = 0x2_0006
_VOLATILE: Final = 1
_NOT_FOUND: Final = 2
_ADMINISTRATOR: Final = "does the agent run as SYSTEM or as an administrator?"


class BootKey:
    """The key. `library` is advapi32.dll: it has the functions of the registry as attributes. AzureCniError."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def exists(self) -> bool:
        """Whether an agent has run since the node booted."""
        key = ctypes.c_void_p()
        result = self._library.RegOpenKeyExW(
            ctypes.c_void_p(_LOCAL_MACHINE), ctypes.c_wchar_p(KEY), 0, _READ, ctypes.byref(key)
        )
        if result == _NOT_FOUND:
            return False
        if result:
            raise AzureCniError(f"cannot open the key HKLM\\{KEY} of the registry: error {result}; {_ADMINISTRATOR}")
        self._library.RegCloseKey(key)
        return True

    def make(self) -> None:
        """From here on one has."""
        key = ctypes.c_void_p()
        result = self._library.RegCreateKeyExW(
            ctypes.c_void_p(_LOCAL_MACHINE),
            ctypes.c_wchar_p(KEY),
            0,
            None,
            _VOLATILE,
            _WRITE,
            None,
            ctypes.byref(key),
            None,
        )
        if result:
            raise AzureCniError(f"cannot make the key HKLM\\{KEY} of the registry: error {result}; {_ADMINISTRATOR}")
        self._library.RegCloseKey(key)


class TickClock:
    """Implements the `Clock` of `azure_cni.node.ports`. `ticks_ms` is GetTickCount64, which never wraps around."""

    def __init__(self, ticks_ms: Callable[[], int]) -> None:
        self._ticks_ms = ticks_ms

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included."""
        return self._ticks_ms() / 1000

    def utc(self, *, ahead_s: float = 0.0) -> str:
        """RFC 3339, seconds, UTC."""
        return (datetime.now(UTC) + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
