"""What HNS answers, written down call by call, so that a stand-in can be held to it. Nothing is kept back or changed.

A record is lines of JSON. The first is a `RecordHead`, each other a `RecordedCall`, in the order in which they were
made. `e2e/windows/replay.py` replays one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from azure_cni.windows.hcn import Hcn, HcnCall, HcnError, HcnKind

FORMAT: Final = 1

Answer = TypeVar("Answer")


class RecordHead(msgspec.Struct, frozen=True, rename="camel"):
    """Of which HNS it is. `system`: what Windows says of itself; `agent`: the version that asked."""

    system: str
    agent: str
    time: str
    format: int = FORMAT


class RecordedCall(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One call: what was asked for (`step`), sent and answered. `result` is the HRESULT, `said` its error record."""

    step: str
    call: HcnCall
    kind: HcnKind
    identifier: str = ""
    sent: str = ""
    network: str = ""
    answer: str = ""
    result: int = 0
    said: str = ""
    took_ms: float = 0.0


class RecordingHcn:
    """Implements `Hcn` by another one. `step` is written down with each call."""

    def __init__(self, hcn: Hcn, write: Callable[[RecordedCall], object]) -> None:
        self._hcn = hcn
        self._write = write
        self.step = ""

    def enumerate(self, kind: HcnKind, query: str) -> str:
        """See `Hcn`."""
        return self._recorded(HcnCall.ENUMERATE, kind, lambda: self._hcn.enumerate(kind, query), sent=query)

    def query(self, kind: HcnKind, identifier: str, query: str) -> str:
        """See `Hcn`."""
        ask = lambda: self._hcn.query(kind, identifier, query)  # noqa: E731
        return self._recorded(HcnCall.QUERY, kind, ask, identifier=identifier, sent=query)

    def create(self, kind: HcnKind, document: str, *, network: str = "") -> str:
        """See `Hcn`."""
        make = lambda: self._hcn.create(kind, document, network=network)  # noqa: E731
        return self._recorded(HcnCall.CREATE, kind, make, sent=document, network=network)

    def modify(self, kind: HcnKind, identifier: str, request: str) -> None:
        """See `Hcn`."""
        change = lambda: self._hcn.modify(kind, identifier, request)  # noqa: E731
        self._recorded(HcnCall.MODIFY, kind, change, identifier=identifier, sent=request)

    def delete(self, kind: HcnKind, identifier: str) -> None:
        """See `Hcn`."""
        self._recorded(HcnCall.DELETE, kind, lambda: self._hcn.delete(kind, identifier), identifier=identifier)

    def _recorded(
        self,
        call: HcnCall,
        kind: HcnKind,
        work: Callable[[], Answer],
        *,
        identifier: str = "",
        sent: str = "",
        network: str = "",
    ) -> Answer:
        asked = RecordedCall(self.step, call, kind, identifier, sent, network)
        began_s = time.monotonic()
        try:
            answer = work()
        except HcnError as error:
            took_ms = (time.monotonic() - began_s) * 1000
            self._write(msgspec.structs.replace(asked, result=error.result, said=error.said, took_ms=took_ms))
            raise
        took_ms = (time.monotonic() - began_s) * 1000
        self._write(msgspec.structs.replace(asked, answer=str(answer or ""), took_ms=took_ms))
        return answer
