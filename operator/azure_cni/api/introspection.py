"""What an agent answers when it is asked about its node, on its socket: for people, read-only and nothing secret.

The command line parses it (`azure_cni.commands`), maybe in another version than the agent's. So fields are only added,
each with a default, and a reader skips what it does not know. Times are RFC 3339 in UTC, "" where there is none.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

from azure_cni.api.conditions import ProblemReport
from azure_cni.errors import DecodeFailed
from azure_cni.model.text import NOT_JSON

T = TypeVar("T")
Figure = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
"""A number that others reckon with: JSON has ones that no float holds."""
NODE_PATH: Final = "/introspection/v1/node"
"""Of a `NodeReport`, on the socket."""


class SlotReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One address of the ledger, since then in its state. `own_egress`: its pod leaves the VNet with it, too."""

    address: str = ""
    config: str = ""
    """Its ipConfiguration."""
    state: str = ""
    since: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    ifname: str = ""
    network: str = ""
    on_nic: bool = True
    excluded: bool = False
    own_egress: bool = False

    @property
    def holder(self) -> str:
        """The pod that has it, NAMESPACE/NAME; a container without a pod by its ID; "" where nobody has it."""
        return f"{self.namespace}/{self.pod}" if self.pod else self.container[:13]


class LinkReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One pod's link as the kernel has it, and the addresses that routes lead there."""

    interfaces: list[str] = []
    addresses: list[str] = []
    mtu: int = 0
    container: str = ""  # whose link it is by the ledger


class KernelReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The node's kernel at this moment. `error`: why it could not be read."""

    links: list[LinkReport] = []
    error: str = ""


class ConfigurationReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One ipConfiguration. `why`: why no pod gets it, "" where one may."""

    name: str = ""
    addresses: list[str] = []
    ready: bool = True
    primary: bool = False
    why: str = ""


class NicReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The NIC as it was last read, `age_s` seconds ago."""

    id: str = ""
    etag: str = ""
    settled: bool = True
    failed: bool = False
    held: int = 0
    read_at: str = ""
    age_s: float | None = None
    configurations: list[ConfigurationReport] = []


class RemovalReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One address that a write takes off the NIC."""

    address: str = ""
    config: str = ""


class ChangeReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a write attaches to one address, and detaches from it."""

    address: str = ""
    add: list[str] = []
    remove: list[str] = []


class AttachmentReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What became of what one pod asks to have attached. `retry_at`: of what Azure refused; "" where nothing was."""

    namespace: str = ""
    pod: str = ""
    uid: str = ""
    done: bool = False
    problem: bool = False
    reason: str = ""
    message: str = ""
    retry_at: str = ""


class PaceReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Writes that the node may make now for what pods have attached; `next_at`: when what waits for that is written."""

    left: int = 0
    at_once: int = 0
    every_s: float = 0.0
    next_at: str = ""


class WriteReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The NIC write that comes next if nothing happens before. `kind`: Grow, Attach, Shrink, Rewrite or None.

    `not_before`: when it is due; "" for at once. `waits`: what it waits for, in words.
    """

    kind: str = "None"
    add: int = 0
    remove: list[RemovalReport] = []
    attach: list[ChangeReport] = []
    why: str = ""
    not_before: str = ""
    waits: list[str] = []
    under_way: bool = False


class PoolReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The pool's figures, in addresses; `request` is the number of the newest request."""

    target: int = 0
    held: int = 0
    ceiling: Figure = 0
    requested: int = 0
    request: int = 0
    granted: int = 0
    answered: bool = False
    waiting: int = 0
    paused: bool = False
    refusal: str = ""
    refusal_message: str = ""
    min_free: Figure = 0
    max_free: Figure = 0
    batch: Figure = 0
    size: Figure | None = None
    blocks: Figure = 0
    """These five: what the pool is to be like, by its spec or the chart's values."""


class FailureReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An activity of the agent that fails now, `attempts` times in a row."""

    activity: str = ""
    reason: str = ""
    message: str = ""
    attempts: int = 0
    failed_at: str = ""
    retry_at: str = ""


class LastWriteReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The newest write of the NIC; as `status.lastWrite`."""

    time: str = ""
    reason: str = ""
    added: int = 0
    removed: int = 0
    result: str = ""
    etag: str = ""


class NodeReport(msgspec.Struct, frozen=True, rename="camel"):
    """All that an agent says of its node."""

    node: str = ""
    version: str = ""
    time: str = ""
    slots: list[SlotReport] = []
    kernel: KernelReport = KernelReport()
    nic: NicReport | None = None
    pool: PoolReport = PoolReport()
    next_write: WriteReport = WriteReport()
    last_write: LastWriteReport | None = None
    failures: list[FailureReport] = []
    conflicts: list[str] = []
    attachments: list[AttachmentReport] = []
    attachment_pace: PaceReport = PaceReport()
    problems: list[ProblemReport] = []


def encode_report(report: msgspec.Struct) -> bytes:
    """As JSON."""
    return msgspec.json.encode(report)


def decode_node_report(body: bytes) -> NodeReport:
    """DecodeFailed where it is none."""
    return decoded_as(body, NodeReport)


def decoded_as(body: bytes, kind: type[T]) -> T:
    """DecodeFailed where it is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except NOT_JSON as error:
        raise DecodeFailed(f"cannot read what the agent answered: {error}") from None
