"""computenetwork.dll by the stand-in for HNS, in this process, and the adapters of a Windows node."""

from __future__ import annotations

import ctypes
import itertools
import json
import sys
import uuid
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Final

from azure_cni.errors import DatapathError
from azure_cni.windows.adapters import Adapter
from azure_cni.windows.computenetwork import ComputeNetwork, Guid
from fakehns.service import KINDS, FakeHns, RefusedCall

INVALID_HANDLE: Final = 0x80070006

_IN_TEXT, _OUT, _HANDLE = ctypes.c_wchar_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
_ID = ctypes.POINTER(Guid)


class StandInLibrary:
    """The functions of computenetwork.dll with their C signatures, on the stand-in for HNS.

    `texts` are those that were handed out and not freed, `handles` those that were not closed: none between two calls.
    """

    def __init__(self, hns: FakeHns) -> None:
        self._hns = hns
        self._numbers = itertools.count(0x1_0000_0001)  # longer than a C int
        self.texts: dict[int, object] = {}
        self.handles: dict[int, tuple[str, str]] = {}
        for kind in KINDS:
            self._export_reads(kind)
            self._export_writes(kind)

    def free(self, text: ctypes.c_void_p) -> None:
        """CoTaskMemFree."""
        del self.texts[text.value or 0]

    def _export_reads(self, kind: str) -> None:
        def enumerate_all(query: str, answer: Any, record: Any) -> int:
            return self._answered(record, lambda: self._put(answer, self._hns.enumerate(kind, query)))

        def open_one(identifier: Any, handle: Any, record: Any) -> int:
            return self._answered(record, lambda: self._hand_out(handle, kind, _guid(identifier)))

        def query(handle: int, wanted: str, answer: Any, record: Any) -> int:
            return self._answered(record, lambda: self._put(answer, self._hns.query(*self._opened(handle), wanted)))

        def close(handle: int) -> int:
            return 0 if self.handles.pop(handle, None) else INVALID_HANDLE

        self._set(f"HcnEnumerate{kind}s", enumerate_all, _IN_TEXT, _OUT, _OUT)
        self._set(f"HcnOpen{kind}", open_one, _ID, _OUT, _OUT)
        self._set(f"HcnQuery{kind}Properties", query, _HANDLE, _IN_TEXT, _OUT, _OUT)
        self._set(f"HcnClose{kind}", close, _HANDLE)

    def _export_writes(self, kind: str) -> None:
        def modify(handle: int, request: str, record: Any) -> int:
            return self._answered(record, lambda: self._hns.modify(*self._opened(handle), request))

        def delete(identifier: Any, record: Any) -> int:
            return self._answered(record, lambda: self._hns.delete(kind, _guid(identifier)))

        def create(_: Any, document: str, handle: Any, record: Any) -> int:
            return self._answered(record, lambda: self._make(handle, kind, document, ""))

        def create_in(network: int, _: Any, document: str, handle: Any, record: Any) -> int:
            return self._answered(record, lambda: self._make(handle, kind, document, self._opened(network)[1]))

        self._set(f"HcnModify{kind}", modify, _HANDLE, _IN_TEXT, _OUT)
        self._set(f"HcnDelete{kind}", delete, _ID, _OUT)
        if kind == "Endpoint":
            self._set("HcnCreateEndpoint", create_in, _HANDLE, _ID, _IN_TEXT, _OUT, _OUT)
        else:
            self._set(f"HcnCreate{kind}", create, _ID, _IN_TEXT, _OUT, _OUT)

    def _set(self, name: str, function: Callable[..., int], *arguments: Any) -> None:
        setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int32, *arguments)(function))

    def _answered(self, record: Any, work: Callable[[], object]) -> int:
        try:
            work()
        except RefusedCall as refused:
            said = {"Success": False, "Error": refused.words, "ErrorCode": refused.result}
            self._put(record, json.dumps(said))
            return refused.result
        return 0

    def _put(self, out: Any, text: str) -> None:
        buffer = ctypes.create_unicode_buffer(text)
        out[0] = ctypes.addressof(buffer)
        self.texts[ctypes.addressof(buffer)] = buffer

    def _make(self, out: Any, kind: str, document: str, network: str) -> None:
        self._hand_out(out, kind, json.loads(self._hns.create(kind, document, network))["ID"])

    def _hand_out(self, out: Any, kind: str, identifier: str) -> None:
        """HNS opens what does not exist no more than it asks it."""
        self._hns.require(kind, identifier)
        number = next(self._numbers)
        self.handles[number] = kind, identifier
        out[0] = number

    def _opened(self, handle: int) -> tuple[str, str]:
        if handle not in self.handles:
            raise RefusedCall(INVALID_HANDLE, "The handle is invalid.")
        return self.handles[handle]


def stand_in_hcn(hns: FakeHns) -> ComputeNetwork:
    """HCN on the stand-in, by way of its C interface: on Windows by the library itself, which is Wine's there."""
    if sys.platform == "win32":
        from windows.served_library import served

        return served(hns)
    library = StandInLibrary(hns)
    return ComputeNetwork(library, library.free)


def _guid(pointer: Any) -> str:
    return str(uuid.UUID(bytes_le=bytes(pointer.contents.octets)))


class FakeAdapters:
    """The NIC, and what HNS makes of it: once there is an L2Bridge network, the switch's adapter has its address."""

    def __init__(self, hns: FakeHns, *, mac: str, primary: IPv4Address, mtu: int, prefix: int = 22) -> None:
        self._hns = hns
        address = IPv4Interface(f"{primary}/{prefix}")
        self.nic = Adapter(index=2, name="Ethernet", mac=mac, mtu=mtu, addresses=(address,), gateway=address.network[1])
        self.away = False
        """HNS is taking the adapter over: for some seconds the address is on none."""
        self.fails: DatapathError | None = None

    def read(self) -> Iterable[Adapter]:
        if self.fails is not None:
            raise self.fails
        nic = self.nic
        bridged = any(one["Type"] == "L2Bridge" for one in self._hns.objects["Network"].values())
        if not bridged and not self.away:
            return [nic]
        bare = Adapter(nic.index, nic.name, nic.mac, nic.mtu)
        switch = Adapter(9, f"vEthernet ({nic.name})", nic.mac, nic.mtu, nic.addresses, nic.gateway)
        return [bare] if self.away else [bare, switch]
