"""The port to the DELs that found no agent: the binary wrote them down, and the next agent carries them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from azure_cni.ipam.address_state import Sandbox


@dataclass(frozen=True, slots=True)
class Record:
    """A DEL that found no agent; `name` is how its store knows it."""

    sandbox: Sandbox
    name: str


@dataclass(frozen=True, slots=True)
class Records:
    """What was found: records to carry out, and words about each that could not be read and was put aside."""

    pending: tuple[Record, ...] = ()
    bad: tuple[str, ...] = ()


class ReleasedRecords(Protocol):
    """The DELs that the binary wrote down when no agent answered."""

    def names(self) -> tuple[str, ...]:
        """The names of those that are there now, no more than a few tens of thousands. AzureCniError."""

    def read(self, names: Sequence[str]) -> Records:
        """Those of them that are still there."""

    def name_of(self, sandbox: Sandbox) -> str:
        """The name of this sandbox's record, whether there is one or not."""

    def has(self, name: str) -> bool:
        """The record is there now. Each ADD asks: no more than a look at one file."""

    def acknowledge(self, record: Record) -> None:
        """The sandbox is detached: forget the record. Never before that, or a crash would leak its address."""
