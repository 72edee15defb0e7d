"""What an agent answers when it is asked for the writes of its node's NIC (`api.introspection` says how it is read)."""

from __future__ import annotations

from typing import Final

import msgspec

from azure_cni.api.audit_reports import HoleReport
from azure_cni.api.introspection import decoded_as

WRITES_PATH: Final = "/introspection/v1/writes"
"""Of a `WritesReport`, on the socket."""


class NicWriteReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A write of the NIC that was made, or tried: as `LastWriteReport`, and more.

    `writer`: `agent` or `controller`; `attached`: of how many pods it changed what they have attached; `came` and
    `went`: the addresses that the NIC had after it, and no longer.
    """

    time: str = ""
    writer: str = ""
    reason: str = ""
    added: int = 0
    removed: int = 0
    attached: int = 0
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    result: str = ""
    etag: str = ""


class WritesReport(msgspec.Struct, frozen=True, rename="camel"):
    """The writes of a node's NIC by its audit trail, oldest first, since `begins`, "" where nothing was written yet."""

    node: str = ""
    begins: str = ""
    writes: list[NicWriteReport] = []
    holes: list[HoleReport] = []
    error: str = ""
    """Why nothing is known here."""


def decode_writes_report(body: bytes) -> WritesReport:
    """DecodeFailed where it is none."""
    return decoded_as(body, WritesReport)
