"""The C interface of HCN, computenetwork.dll, by ctypes: handles, GUIDs, and texts that the caller has to free.

Each function returns an HRESULT, and where it fails a text about that (an error record). It hands out texts that belong
to the caller, who frees them by CoTaskMemFree. An object is asked and changed by a handle, which is closed again at
once: nothing is kept between two calls. Signatures: Microsoft documentation, "HCN functions".

The library is given, not loaded here, so that the conventions can be tried everywhere.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from azure_cni.model.text import NOT_JSON
from azure_cni.windows.hcn import HcnCall, HcnError, HcnKind

_FAILED: Final = 0x8000_0000
_GUID_CONVERSION_FAILURE: Final = 0x803B0019
_PROPERTIES: Final = '{"SchemaVersion":{"Major":2,"Minor":0}}'


class Guid(ctypes.Structure):
    """GUID of guiddef.h; `octets` as `uuid.UUID.bytes_le` has them."""

    _fields_ = (("octets", ctypes.c_ubyte * 16),)


class _ErrorRecord(msgspec.Struct):
    Error: str = ""


class ComputeNetwork:
    """Implements `Hcn`. `library` has the functions as attributes; `free` is CoTaskMemFree."""

    def __init__(self, library: Any, free: Callable[[ctypes.c_void_p], object]) -> None:
        self._library = library
        self._free = free

    def enumerate(self, kind: HcnKind, query: str) -> str:
        """See `Hcn`."""
        return self._ask(HcnCall.ENUMERATE, kind, f"HcnEnumerate{kind}s", ctypes.c_wchar_p(query))

    def query(self, kind: HcnKind, identifier: str, query: str) -> str:
        """See `Hcn`."""
        with self._opened(HcnCall.QUERY, kind, identifier) as handle:
            return self._properties(HcnCall.QUERY, kind, handle, query)

    def create(self, kind: HcnKind, document: str, *, network: str = "") -> str:
        """See `Hcn`. HNS chooses the ID."""
        if kind is not HcnKind.ENDPOINT:
            return self._create(kind, document)
        with self._opened(HcnCall.QUERY, HcnKind.NETWORK, network) as handle:
            return self._create(kind, document, handle)

    def modify(self, kind: HcnKind, identifier: str, request: str) -> None:
        """See `Hcn`."""
        with self._opened(HcnCall.MODIFY, kind, identifier) as handle:
            self._call(HcnCall.MODIFY, kind, f"HcnModify{kind}", handle, ctypes.c_wchar_p(request))

    def delete(self, kind: HcnKind, identifier: str) -> None:
        """See `Hcn`."""
        guid = _guid(HcnCall.DELETE, kind, identifier)
        self._call(HcnCall.DELETE, kind, f"HcnDelete{kind}", ctypes.byref(guid))

    def _create(self, kind: HcnKind, document: str, *within: ctypes.c_void_p) -> str:
        made, chosen = ctypes.c_void_p(), Guid()
        settings = ctypes.c_wchar_p(document)
        self._call(
            HcnCall.CREATE, kind, f"HcnCreate{kind}", *within, ctypes.byref(chosen), settings, ctypes.byref(made)
        )
        try:
            return self._properties(HcnCall.CREATE, kind, made, _PROPERTIES)
        finally:
            self._close(kind, made)

    def _properties(self, call: HcnCall, kind: HcnKind, handle: ctypes.c_void_p, query: str) -> str:
        return self._ask(call, kind, f"HcnQuery{kind}Properties", handle, ctypes.c_wchar_p(query))

    @contextmanager
    def _opened(self, call: HcnCall, kind: HcnKind, identifier: str) -> Iterator[ctypes.c_void_p]:
        guid, handle = _guid(call, kind, identifier), ctypes.c_void_p()
        self._call(call, kind, f"HcnOpen{kind}", ctypes.byref(guid), ctypes.byref(handle))
        try:
            yield handle
        finally:
            self._close(kind, handle)

    def _close(self, kind: HcnKind, handle: ctypes.c_void_p) -> None:
        """A handle that cannot be closed is HNS's to clean up."""
        self._function(f"HcnClose{kind}")(handle)

    def _ask(self, call: HcnCall, kind: HcnKind, name: str, *arguments: Any) -> str:
        """A function whose last result but the error record is a text."""
        answer = ctypes.c_void_p()
        self._call(call, kind, name, *arguments, ctypes.byref(answer))
        return self._taken(answer)

    def _call(self, call: HcnCall, kind: HcnKind, name: str, *arguments: Any) -> None:
        record = ctypes.c_void_p()
        result = self._function(name)(*arguments, ctypes.byref(record)) & 0xFFFF_FFFF
        said = self._taken(record)
        if result & _FAILED:
            raise HcnError(call, kind, result, _words(said))

    def _function(self, name: str) -> Any:
        function = getattr(self._library, name)
        function.restype = ctypes.c_int32  # HRESULT
        return function

    def _taken(self, text: ctypes.c_void_p) -> str:
        """The text, which is freed with that; "" for none."""
        if not text.value:
            return ""
        try:
            return ctypes.wstring_at(text.value)
        finally:
            self._free(text)


def _guid(call: HcnCall, kind: HcnKind, identifier: str) -> Guid:
    try:
        octets = uuid.UUID(identifier).bytes_le
    except ValueError:
        raise HcnError(call, kind, _GUID_CONVERSION_FAILURE, f"{identifier} is no GUID") from None
    return Guid((ctypes.c_ubyte * 16)(*octets))


def _words(record: str) -> str:
    """What an error record says to people."""
    try:
        return msgspec.json.decode(record, type=_ErrorRecord).Error or record
    except NOT_JSON:
        return record
