"""Answers people who ask which way a pod's packets take: the node's table, and the kernel's own lookup of the routes.

Nothing is sent and nothing changed: the lookup is what `ip route get` does, for a packet that comes in by the pod's
link. What the table does with the packet is not asked of the kernel but decided by `azure_cni.diagnose.packet_trace`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network

from azure_cni import __version__
from azure_cni.api.trace_reports import ForwardingReport, TableReport, TraceReport
from azure_cni.datapath.leaving import IMDS, WIRESERVER
from azure_cni.datapath.node_table import LINK_LOCAL
from azure_cni.datapath.uplink import RouteDecision
from azure_cni.errors import AzureCniError
from azure_cni.model.identity import VNetView
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.ports import ObservedSandbox
from azure_cni.node.state import AppliedTable


class PathInspector:
    """Of one node. Safe to call at any time on the agent's loop."""

    def __init__(self, core: NodeCore, *, pool_state: PoolState) -> None:
        self._core = core
        self._pool_state = pool_state

    async def describe(self, source: IPv4Address, destinations: Sequence[IPv4Address], *, node: str) -> TraceReport:
        """The way from a pod's address to each destination. A kernel that cannot be asked is part of the answer."""
        state, slots = self._core.state, self._core.stored.ledger.slots
        slot = next((one for one in slots if one.address == source), None)
        interfaces, ways, error = await self._routed(source, destinations)
        return TraceReport(
            node=node,
            version=__version__,
            time=self._core.ports.clock.utc(),
            source=str(source),
            holder=str(slot.holder) if slot is not None and slot.holder is not None else "",
            state="" if slot is None else slot.state.value,
            interfaces=interfaces,
            table=None if state.applied is None else self._table(state.applied),
            ways=ways,
            conflicts=[conflict.message for conflict in state.conflicts],
            error=error,
        )

    async def _routed(
        self, source: IPv4Address, destinations: Sequence[IPv4Address]
    ) -> tuple[list[str], list[ForwardingReport], str]:
        """The interfaces of the pod's link, what the kernel says of each destination, and why it says nothing."""
        datapath = self._core.ports.datapath
        try:
            links = await datapath.sandboxes()
            own = next((link for link in links if source in link.addresses), None)
            if own is None:
                return [], [], f"no route of the node leads {source} to a pod's link"
            names = [end.name for end in own.node]
            found = await datapath.forwarding(destinations, source=source, interface=[own.key, *names][-1])
        except AzureCniError as error:
            return [], [], str(error)
        return names, [self._way(one, links) for one in found], ""

    def _way(self, found: RouteDecision, links: Sequence[ObservedSandbox]) -> ForwardingReport:
        keys = {link.key for link in links if found.destination in link.addresses}
        slots = self._core.stored.ledger.slots
        holders = [slot.holder for slot in slots if slot.holder is not None]
        pod = next((str(one) for one in holders if self._core.ports.datapath.key(one.sandbox) in keys), "")
        return ForwardingReport(
            destination=str(found.destination),
            kind=found.kind.value,
            interface=found.interface,
            gateway="" if found.gateway is None else str(found.gateway),
            table=found.table,
            pod=pod,
            why=found.why,
        )

    def _table(self, applied: AppliedTable) -> TableReport:
        return describe_table(
            applied,
            own_egress=self._core.stored.own_egress,
            vnet=self._pool_state.vnet,
            configured=self._core.settings.routable,
        )


def describe_table(
    applied: AppliedTable,
    *,
    own_egress: frozenset[IPv4Address],
    vnet: VNetView | None = None,
    configured: Collection[IPv4Network] = (),
) -> TableReport:
    """The table as people read it. `own_egress` changes between two times that a table is applied."""
    table = applied.table
    return TableReport(
        mode=table.mode.value,
        uplink=applied.uplink,
        way_out=applied.way_out,
        node_nic=applied.node_nic,
        primary=str(table.node_address),
        pool=[str(one) for one in sorted(table.pool)],
        public=[str(one) for one in sorted(table.public)],
        own_egress=[str(one) for one in sorted(own_egress)],
        routable=[str(one) for one in sorted(table.routable)],
        vnet=[] if vnet is None else [str(one) for one in sorted(vnet.prefixes)],
        peered=[] if vnet is None else [str(one) for one in sorted(vnet.peered)],
        configured=[str(one) for one in sorted(configured)],
        imds_allowed=table.imds_allowed,
        wireserver=str(WIRESERVER),
        metadata=str(IMDS),
        link_local=str(LINK_LOCAL),
    )
