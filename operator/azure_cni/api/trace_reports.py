"""What an agent answers about the way of one pod's packets: the node's table, and the kernel's routing at this moment.

Beside `azure_cni.api.introspection`, whose rules for versions hold here, too. `azure-cni trace` decides by it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from azure_cni.api.introspection import decoded_as

TRACE_PATH: Final = "/introspection/v1/trace"
"""Of a `TraceReport`, with the query `source` (a pod's address) and `to`, once for each destination."""
MOST_DESTINATIONS: Final = 16
"""Of one request."""


class TableReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The node's table (`docs/architecture.md`, data plane) as it was applied last. Addresses, or prefixes in CIDR.

    `uplink` is the NIC's interface, `way_out` that of the default route where it is another, `node_nic` that of the
    node's own NIC where pods have another, by which they leave as themselves; `routable` is else all that
    sees pods by their own address, and consists of `vnet`, `peered` and `configured`. `own_egress` and `public` keep
    their address also beyond that. `wireserver`, `metadata` and `link_local` are what the guard is about.
    """

    mode: str = ""
    uplink: str = ""
    way_out: str = ""
    node_nic: str = ""
    primary: str = ""
    pool: list[str] = []
    public: list[str] = []
    own_egress: list[str] = []
    routable: list[str] = []
    vnet: list[str] = []
    peered: list[str] = []
    configured: list[str] = []
    imds_allowed: bool = False
    wireserver: str = ""
    metadata: str = ""
    link_local: str = ""


class ForwardingReport(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the kernel's routing does with the pod's packets to a destination. `kind`: `forward`, `local` or `refuse`.

    `table`: the number of the routing table that decided. `pod`: whose link `interface` is, NAMESPACE/NAME, where it is
    one of a pod of this node. `why`: of a refusal.
    """

    destination: str = ""
    kind: str = ""
    interface: str = ""
    gateway: str = ""
    table: int = 0
    pod: str = ""
    why: str = ""


class TraceReport(msgspec.Struct, frozen=True, rename="camel"):
    """Of one pod's address, its holder by the ledger. `interfaces`: of the node, the last of which routing sees.

    `error`: why the kernel was not asked; `table` is None where this agent has not made the table yet.
    """

    node: str = ""
    version: str = ""
    time: str = ""
    source: str = ""
    holder: str = ""
    state: str = ""
    interfaces: list[str] = []
    table: TableReport | None = None
    ways: list[ForwardingReport] = []
    conflicts: list[str] = []
    error: str = ""


def decode_trace_report(body: bytes) -> TraceReport:
    """DecodeFailed where it is none."""
    return decoded_as(body, TraceReport)
