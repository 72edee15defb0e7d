"""What an agent answers of its node's audit trail: who had an address, and how many were in use, hour by hour.

As `azure_cni.api.introspection`: fields are only added, and a reader skips what it does not know.
"""

from __future__ import annotations

from typing import Final

import msgspec

from azure_cni.api.introspection import Figure, PoolReport, decoded_as

AUDIT_PATH: Final = "/introspection/v1/audit"
"""Of an `AuditReport`, with the query `address`."""
USAGE_PATH: Final = "/introspection/v1/usage"
"""Of a `UsageReport`."""
WRITES_PATH: Final = "/introspection/v1/writes"
"""Of a `WritesReport`, on the socket."""


class TenureReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A pod's time with an address, by the audit trail. `end`: "" while it lasts.

    Where `end_not_before` is set, it ended between the two, and nobody saw when; without `end`, it may last.
    """

    node: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    begin: str = ""
    end: str = ""
    end_not_before: str = ""
    network: str = ""
    """Of the runtime's: the name of the CNI network, or the ID of Docker's; "" where it was not written down."""
    recorded_by: str = ""
    """The node whose record it is, where that is another than `node`, whose disk was made from that one's."""

    @property
    def holder(self) -> str:
        """As `SlotReport.holder`."""
        return f"{self.namespace}/{self.pod}" if self.pod else self.container[:13]

    @property
    def place(self) -> str:
        """The node on which the pod was, and which other one says so; for people."""
        return f"{self.recorded_by} (by a copy of its trail on {self.node})" if self.recorded_by else self.node


class HoleReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A time of which the audit trail does not know all. `kind`: `started` (no agent ran), `gap` (`lost` records were
    not written) or `unreadable` (`lost` lines).
    """

    kind: str = ""
    begin: str = ""
    end: str = ""
    lost: int = 0


class AuditReport(msgspec.Struct, frozen=True, rename="camel"):
    """What a node's audit trail knows of one address. It reaches back to `begins`, "" where nothing was written yet."""

    node: str = ""
    address: str = ""
    begins: str = ""
    tenures: list[TenureReport] = []
    holes: list[HoleReport] = []
    error: str = ""  # why nothing is known here: the trail is switched off, or cannot be read


class UsageHour(msgspec.Struct, frozen=True, array_like=True):
    """One hour of a node, `hour` hours after 1970. `peak`: the most pods that had an address at once.

    `started`: pods that got one; `burst`: the most of them within a minute; `writes` of the NIC; for `unseen_s` seconds
    nothing is known. As a list in JSON: a month has 720 of them. Fields are only added at the end.
    """

    hour: Figure
    peak: Figure = 0
    started: Figure = 0
    burst: Figure = 0
    writes: Figure = 0
    unseen_s: Figure = 0


class UsageReport(msgspec.Struct, frozen=True, rename="camel"):
    """How many addresses pods had, by the node's audit trail, oldest hour first; and the pool's figures now."""

    node: str = ""
    time: str = ""
    hours: list[UsageHour] = []
    pool: PoolReport = PoolReport()
    error: str = ""
    """Why nothing is known here."""


def decode_audit_report(body: bytes) -> AuditReport:
    """DecodeFailed where it is none."""
    return decoded_as(body, AuditReport)


def decode_usage_report(body: bytes) -> UsageReport:
    """DecodeFailed where it is none."""
    return decoded_as(body, UsageReport)


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
