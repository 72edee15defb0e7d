"""Which libraries an agent loads, and with which types of results."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from azure_cni.errors import DatapathError
from azure_cni.windows.libraries import load_libraries


class System32:
    """By name; `lacks` what is not installed."""

    def __init__(self, lacks: str = "") -> None:
        self._lacks = lacks
        self.loaded: dict[str, SimpleNamespace] = {}

    def load(self, name: str) -> SimpleNamespace:
        if name == self._lacks:
            raise FileNotFoundError(f"Could not find module '{name}'")
        functions = {"CoTaskMemFree": SimpleNamespace(), "GetTickCount64": SimpleNamespace()}
        return self.loaded.setdefault(name, SimpleNamespace(**functions))


def test_results_that_are_longer_than_an_int_are_not_cut() -> None:
    system = System32()
    libraries = load_libraries(system.load)
    assert set(system.loaded) == {"computenetwork.dll", "ole32.dll", "iphlpapi.dll", "advapi32.dll", "kernel32.dll"}
    assert libraries.kernel32.GetTickCount64.restype is ctypes.c_uint64
    free = system.loaded["ole32.dll"].CoTaskMemFree
    assert (free.argtypes, free.restype) == ([ctypes.c_void_p], None)


def test_a_node_without_hns_is_told_what_to_install() -> None:
    with pytest.raises(DatapathError, match=r"cannot load computenetwork.dll: .*Install-WindowsFeature Containers"):
        load_libraries(System32(lacks="computenetwork.dll").load)
