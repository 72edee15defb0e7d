"""The libraries of Windows that an agent calls. Nothing else loads one, so nothing else needs a Windows.

They are looked for in System32 alone (LOAD_LIBRARY_SEARCH_SYSTEM32, libloaderapi.h): a library of that name beside the
program, or on the path, is never loaded. Each function gets the types of its results where ctypes' own, a C int, would
not do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.errors import DatapathError
from azure_cni.windows.computenetwork import ComputeNetwork

_SYSTEM32: Final = 0x800

Load = Callable[[str], Any]
"""Loads a library by its name; its functions are attributes. OSError."""


@dataclass(frozen=True, slots=True)
class NodeLibraries:
    """Those of one node. `hcn`: HNS by computenetwork.dll; the others are named as their files."""

    hcn: ComputeNetwork
    iphlpapi: Any
    advapi32: Any
    kernel32: Any


def load_libraries(load: Load | None = None) -> NodeLibraries:
    """Those of this node. DatapathError where HNS is not installed."""
    load = load or _load
    return NodeLibraries(
        hcn=_compute_network(load),
        iphlpapi=load("iphlpapi.dll"),
        advapi32=load("advapi32.dll"),
        kernel32=_with_ticks(load("kernel32.dll")),
    )


def _load(name: str) -> Any:
    library: Callable[..., Any] | None = vars(ctypes).get("WinDLL")  # which Python has on Windows alone
    if library is None:
        raise OSError("this is no Windows")
    return library(name, winmode=_SYSTEM32)


def _compute_network(load: Load) -> ComputeNetwork:
    try:
        library = load("computenetwork.dll")
    except OSError as error:
        raise DatapathError(
            f"cannot load computenetwork.dll: {error}; HNS is a part of the feature Containers of Windows Server 2019 "
            "and later: Install-WindowsFeature Containers, then restart the node"
        ) from error
    memory = load("ole32.dll")
    memory.CoTaskMemFree.argtypes = [ctypes.c_void_p]
    memory.CoTaskMemFree.restype = None
    return ComputeNetwork(library, memory.CoTaskMemFree)


def _with_ticks(library: Any) -> Any:
    library.GetTickCount64.restype = ctypes.c_uint64
    return library
