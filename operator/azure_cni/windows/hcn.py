"""HCN as azure-cni uses it: five calls for each kind of object, with JSON documents both ways.

`Hcn` is the C interface of computenetwork.dll without handles and buffers. `HcnService` reads and writes the documents,
and everything that HNS answers passes through it. What HNS refuses is an `HcnError` with the code that it gave. Whether
something exists is decided by that code, never by its words, which are in the node's language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from azure_cni.datapath.hcn_documents import Document, query_document
from azure_cni.errors import DatapathError
from azure_cni.model.text import NOT_JSON, legible


class HcnKind(StrEnum):
    """The objects of HNS that a node has, as its functions name them."""

    NETWORK = "Network"
    ENDPOINT = "Endpoint"
    NAMESPACE = "Namespace"


class HcnCall(StrEnum):
    """What can be done with them."""

    ENUMERATE = "list"
    QUERY = "read"
    CREATE = "make"
    MODIFY = "change"
    DELETE = "delete"


class Hcn(Protocol):
    """The functions of computenetwork.dll. Each blocks until HNS has answered. HcnError where it refuses."""

    def enumerate(self, kind: HcnKind, query: str) -> str:
        """The IDs of what matches, as a JSON array."""

    def query(self, kind: HcnKind, identifier: str, query: str) -> str:
        """One object as a JSON document."""

    def create(self, kind: HcnKind, document: str, *, network: str = "") -> str:
        """Make one, an endpoint in the network of that ID; returns it as a JSON document."""

    def modify(self, kind: HcnKind, identifier: str, request: str) -> None:
        """Carry out a request of HNS's schema (Modify...SettingRequest)."""

    def delete(self, kind: HcnKind, identifier: str) -> None:
        """Remove one."""


_NAMES: Final[Mapping[int, str]] = {
    0x803B0001: "HCN_E_NETWORK_NOT_FOUND",
    0x803B0002: "HCN_E_ENDPOINT_NOT_FOUND",
    0x803B0006: "HCN_E_ADAPTER_NOT_FOUND",
    0x803B000A: "HCN_E_INVALID_NETWORK",
    0x803B000C: "HCN_E_INVALID_ENDPOINT",
    0x803B000D: "HCN_E_INVALID_POLICY",
    0x803B000E: "HCN_E_INVALID_POLICY_TYPE",
    0x803B0010: "HCN_E_NETWORK_ALREADY_EXISTS",
    0x803B0014: "HCN_E_ENDPOINT_ALREADY_ATTACHED",
    0x803B001B: "HCN_E_INVALID_JSON",
    0x803B001E: "HCN_E_INVALID_IP",
    0x803B0020: "HCN_E_MANAGER_STOPPED",
    0x803B002B: "HCN_E_ENDPOINT_NAMESPACE_ALREADY_EXISTS",
    0x803B002C: "HCN_E_ENTITY_HAS_REFERENCES",
    0x80070490: "ERROR_NOT_FOUND",
    0x800706BA: "RPC_S_SERVER_UNAVAILABLE",
    0x800706BE: "RPC_S_CALL_FAILED",
}
"""Microsoft documentation, "HCN Error Code", and winerror.h."""

_NETWORK_NOT_FOUND: Final = 0x803B0001
_ENDPOINT_NOT_FOUND: Final = 0x803B0002
_NOT_FOUND: Final = 0x80070490
_ABSENT: Final[Mapping[HcnKind, frozenset[int]]] = {
    HcnKind.NETWORK: frozenset({_NETWORK_NOT_FOUND, _NOT_FOUND}),
    HcnKind.ENDPOINT: frozenset({_ENDPOINT_NOT_FOUND, _NOT_FOUND}),
    HcnKind.NAMESPACE: frozenset({_NOT_FOUND}),
}
"""An endpoint whose network is gone may still be there, and have its address."""
_SILENT: Final = frozenset({0x803B0020, 0x800706BA, 0x800706BE})
_RESTART: Final = "is the service hns running? Get-Service hns; Restart-Service hns -Force"


class HcnError(DatapathError):
    """A call of HCN failed. `result` is its HRESULT, as an unsigned number; `said` is what HNS says of it."""

    def __init__(self, call: HcnCall, kind: HcnKind, result: int, said: str = "") -> None:
        code = f"{_NAMES.get(result, 'HRESULT')} 0x{result:08x}"
        words = f"{code} ({legible(said)})" if said else code
        advice = f"; {_RESTART}" if result in _SILENT else ""
        super().__init__(f"cannot {call} the HCN {kind.lower()}: {words}{advice}")
        self.kind = kind
        self.result = result
        self.said = said

    @property
    def absent(self) -> bool:
        """What was asked for does not exist."""
        return self.result in _ABSENT[self.kind]

    @property
    def silent(self) -> bool:
        """HNS itself is away, or ended in the middle of the call: it has refused nothing."""
        return self.result in _SILENT

    @property
    def network_absent(self) -> bool:
        """The network does not exist: HNS was restarted, or somebody removed it."""
        return self.result == _NETWORK_NOT_FOUND


class HcnService:
    """HNS by documents. Synchronous. HcnError, and DatapathError for an answer that makes no sense."""

    def __init__(self, hcn: Hcn) -> None:
        self._hcn = hcn

    def identifiers(self, kind: HcnKind, **properties: str) -> list[str]:
        """The IDs of all of a kind, or of those with these properties; in lower case."""
        answer = self._hcn.enumerate(kind, json.dumps(query_document(**properties)))
        found: list[str] = _read(answer, list[str], kind)
        return [identifier.lower() for identifier in found]

    def find(self, kind: HcnKind, **properties: str) -> list[Document]:
        """All of a kind with these properties, but for what went meanwhile."""
        found = (self.get(kind, identifier) for identifier in self.identifiers(kind, **properties))
        return [document for document in found if document is not None]

    def get(self, kind: HcnKind, identifier: str) -> Document | None:
        """One object; None where it does not exist."""
        try:
            answer = self._hcn.query(kind, identifier, json.dumps(query_document()))
        except HcnError as error:
            if error.absent:
                return None
            raise
        return _object(answer, kind)

    def create(self, kind: HcnKind, document: Document, *, network: str = "") -> Document:
        """Make an object; returns it as HNS shows it."""
        return _object(self._hcn.create(kind, json.dumps(document), network=network), kind)

    def modify(self, kind: HcnKind, identifier: str, request: Document) -> None:
        """Carry out a request."""
        self._hcn.modify(kind, identifier, json.dumps(request))

    def delete(self, kind: HcnKind, identifier: str) -> None:
        """Remove an object; one that is gone is no error."""
        try:
            self._hcn.delete(kind, identifier)
        except HcnError as error:
            if not error.absent:
                raise


def _object(answer: str, kind: HcnKind) -> Document:
    found: dict[str, Any] = _read(answer, dict[str, Any], kind)
    return found


def _read(answer: str, wanted: type[Any], kind: HcnKind) -> Any:
    try:
        return msgspec.json.decode(answer, type=wanted)
    except NOT_JSON as error:
        begins = legible(answer[:80])
        raise DatapathError(
            f"cannot read what HNS says of an HCN {kind.lower()}: {error}; it begins {begins}"
        ) from error
