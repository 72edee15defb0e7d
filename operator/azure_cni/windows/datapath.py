"""The Datapath port on HNS: one network for the node, one endpoint for each sandbox. Not tried on Windows yet.

All calls of HNS are made by one thread, in the order in which they were asked for (`call_thread`); a long comparison
asks for each endpoint separately, so that a pod waits for one at most. What the node's table holds on Linux hangs on
each endpoint here, so a table is applied by going through them, and a new endpoint gets the table applied last: until
one was applied, no pod can be wired.

What Linux has and this data plane has not: routes and neighbours to lose, a lookup of routes, a view into namespaces,
several modes, news of most changes by others. Where the port asks for them, the answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from typing import Final, TypeVar

from azure_cni.datapath import names
from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.hcn_documents import (
    Endpoint,
    Segment,
    identifier_of,
    network_document,
    network_fault,
    removal,
)
from azure_cni.datapath.interface import Wiring
from azure_cni.datapath.leaving import NO_SERVICES, Services
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.datapath.uplink import RouteDecision, Uplink
from azure_cni.errors import DatapathError
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import Address
from azure_cni.model.text import few
from azure_cni.node.pods.liveness import Occupancy
from azure_cni.node.ports import HostChange, LinkKey, ObservedSandbox, SandboxSpec
from azure_cni.windows.adapters import Adapter, Adapters, nics_adapter, segment_of, uplink_of
from azure_cni.windows.call_thread import CallThread, WatchedHcn
from azure_cni.windows.hcn import Hcn, HcnError, HcnKind, HcnService
from azure_cni.windows.hcn_endpoints import Endpoints

NETWORK: Final = "azure"
"""The HCN network's name, which kube-proxy has to know (`KUBE_NETWORK`), as on nodes with Azure's own plugin."""

POD_LIMIT_S: Final = 20.0
"""For a call that a runtime waits for: the plugin gives up an ADD after 30 s."""
NODE_LIMIT_S: Final = 120.0
"""For all others, as making the network, which takes over the NIC's adapter; Azure's own plugin allows as much."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a pod is wired with: the node's table as applied last, the ID of its network, and where the NIC is."""

    table: NodeTable
    network: str
    segment: Segment


class HcnDatapath:
    """Of the node that this process runs on. The limits are for one call of HNS each, in seconds."""

    def __init__(
        self,
        hcn: Hcn,
        adapters: Adapters,
        *,
        services: Services = NO_SERVICES,
        network: str = NETWORK,
        pod_limit_s: float = POD_LIMIT_S,
        node_limit_s: float = NODE_LIMIT_S,
    ) -> None:
        self._thread = CallThread(name="datapath-hcn")
        self._service = HcnService(WatchedHcn(hcn, self._thread))
        self._endpoints = Endpoints(self._service, services)
        self._adapters = adapters
        self._network = network
        self._pod_limit_s = pod_limit_s
        self._node_limit_s = node_limit_s
        self._prepared: _Prepared | None = None
        self._network_lost = asyncio.Event()

    @property
    def busy_s(self) -> float:
        """For how long HNS has been at the present call."""
        return self._thread.busy_s

    async def attach(self, spec: SandboxSpec) -> Wiring:
        """Wire one sandbox; a repeat for a sandbox wired alike is the same result. On error nothing is left, unless it
        is DatapathOutcomeUnknown.
        """
        address, key, ifname = _address(spec), self.key(spec.sandbox), spec.sandbox.ifname
        prepared = self._require_prepared(key)
        work = partial(
            self._endpoints.attach,
            key,
            ifname,
            spec.netns,
            address,
            network=prepared.network,
            segment=prepared.segment,
            table=prepared.table,
            asked=spec.asked,
        )
        try:
            return await self._run_for_pod(work)
        except HcnError as error:
            if error.network_absent:
                self._network_lost.set()
            raise

    async def detach(self, sandbox: Sandbox) -> None:
        """After this no packet reaches or leaves the sandbox. One that is not there is no error."""
        await self.remove(self.key(sandbox))

    async def remove(self, key: LinkKey) -> None:
        """The same for an endpoint whose sandbox nobody knows."""
        await self._run_for_pod(lambda: self._endpoints.detach(key))

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Each difference between HNS and what the sandbox should be, as words; empty when it is right."""
        address, key = _address(spec), self.key(spec.sandbox)
        prepared = self._require_prepared(key)
        return await self._run_for_pod(
            lambda: self._endpoints.check(key, spec.netns, address, network=prepared.network, table=prepared.table)
        )

    async def restore_routes(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Nothing: only the endpoint itself leads to a sandbox, and `apply_node` puts its policies right."""
        del spec
        return ()

    @staticmethod
    def key(sandbox: Sandbox) -> LinkKey:
        """The endpoint's name, which is that of the node's end on Linux."""
        return LinkKey(names.host_ifname(*sandbox.interface))

    @staticmethod
    def is_complete(observed: ObservedSandbox, spec: SandboxSpec) -> bool:
        """Always: see `restore_routes`."""
        del observed, spec
        return True

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        """Every endpoint that is azure-cni's; several of one name are one."""
        mtu = self._prepared.segment.mtu if self._prepared is not None else 0
        found: dict[str, frozenset[Address]] = {}
        for endpoint in await self._run_for_node(self._endpoints.ours):
            addresses = frozenset(one.ip for one in endpoint.addresses)
            found[endpoint.name] = found.get(endpoint.name, frozenset()) | addresses
        return tuple(ObservedSandbox(LinkKey(name), addresses, mtu) for name, addresses in found.items())

    async def occupancy(self, holders: Sequence[Holder]) -> tuple[Occupancy, ...]:
        """Not known: HNS does not say which processes are in a namespace."""
        return (Occupancy.UNREADABLE,) * len(holders)

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's adapter, by MAC (lower case, colons) and primary address."""
        return uplink_of(await self._run_for_node(lambda: self._adapter(mac, primary)))

    async def forwarding(
        self, destinations: Sequence[IPv4Address], *, source: IPv4Address, interface: str
    ) -> tuple[RouteDecision, ...]:
        """DatapathError: the switch routes for pods, and shows no decisions."""
        raise DatapathError(
            f"cannot look up the way from {source} by {interface} to {few(destinations)}: Windows' virtual switch "
            "shows no routing decisions; see the endpoint's policies: Get-HnsEndpoint"
        )

    async def apply_node(self, table: NodeTable) -> HostReport:
        """Make the network, if there is none, and the policies of all our endpoints right. DatapathError for what could
        not be put right, once all has been tried.
        """
        if table.mode is not ModeName.TRANSPARENT:
            raise DatapathError(
                f"cannot wire pods in mode {table.mode} on Windows: pods hang on the virtual switch, which is no "
                f"bridge of Linux; set mode {ModeName.TRANSPARENT} for this node"
            )
        if table.node_nic is not None:
            raise DatapathError(
                f"cannot use a pod subnet on Windows: pods hang on the node's own NIC, {table.node_nic.mac}; remove "
                "nic.subnet from the NodeIPPool, or the entry of pool.subnets that this node's labels fit"
            )
        adapter = await self._run_for_node(lambda: self._adapter(table.uplink_mac, table.primary))
        segment = segment_of(adapter, table.primary)
        network, made = await self._run_for_node(lambda: self._ensure_network(segment))
        self._prepared = _Prepared(table, network, segment)
        repaired = [*made, *await self._put_policies_right(table)]
        foreign = await self._run_for_node(lambda: self._endpoints.others_with(table.pool))
        return HostReport(uplink_of(adapter), tuple(repaired), _conflicts(foreign))

    async def guarded_mode(self) -> ModeName | None:
        """The mode of the table that this process has applied; None before. What an earlier agent left is not asked."""
        return None if self._prepared is None else self._prepared.table.mode

    async def set_egress(self, addresses: frozenset[IPv4Address]) -> None:
        """Make these the addresses that what their pods send out of the VNet keeps."""
        prepared = self._prepared
        if prepared is None:
            if addresses:
                raise DatapathError(
                    "cannot change how pods leave the VNet: this agent has not applied the node's table yet"
                )
            return
        changed = addresses ^ prepared.table.own_egress
        table = replace(prepared.table, own_egress=addresses)
        self._prepared = replace(prepared, table=table)
        await self._put_policies_right(table, only=changed)

    async def forget_connections(self, addresses: frozenset[Address]) -> None:
        """Nothing: a translation is a policy's of an endpoint, and taken to end with it."""

    async def changed(self) -> HostChange:
        """Nothing is heard of but that the network is gone, when a pod comes; the rest is found by comparing."""
        await self._network_lost.wait()
        self._network_lost.clear()
        return HostChange.everything(f"HCN network {self._network} is gone")

    async def close(self) -> None:
        """Finish what is in line, and end the thread once HNS has answered. Endpoints stay as they are."""
        self._thread.close()

    async def _put_policies_right(
        self, table: NodeTable, *, only: frozenset[IPv4Address] | None = None
    ) -> tuple[str, ...]:
        """Of all our endpoints, or of those with `only` these addresses. A failure keeps no other from it."""
        repaired: list[str] = []
        failures: list[DatapathError] = []
        for endpoint in await self._run_for_node(self._endpoints.ours):
            if only is not None and only.isdisjoint(one.ip for one in endpoint.addresses):
                continue
            try:
                repaired += await self._run_for_node(partial(self._endpoints.put_policies_right, endpoint.id, table))
            except DatapathError as error:
                failures.append(error)
        if failures:
            raise DatapathError(few(failures, between="; ", last="; and ")) from failures[0]
        return tuple(repaired)

    def _ensure_network(self, segment: Segment) -> tuple[str, tuple[str, ...]]:
        """The ID of the node's network, and what was put right. One that differs stays as it is: pods may be on it."""
        found = self._service.find(HcnKind.NETWORK, Name=self._network)
        repaired: tuple[str, ...] = ()
        if not found:
            found = [self._service.create(HcnKind.NETWORK, network_document(self._network, segment))]
            repaired = (f"HCN network {self._network} was missing: made",)
        fault = f"there are {len(found)}" if len(found) > 1 else network_fault(found[0], segment)
        if fault:
            raise DatapathError(
                f"cannot use the HCN network {self._network}: {fault}. The agent removes no network, because pods may "
                f"be on it: drain the node, then Get-HnsNetwork | ? Name -eq {self._network} | Remove-HnsNetwork"
            )
        return identifier_of(found[0]), repaired

    def _adapter(self, mac: str, primary: IPv4Address) -> Adapter:
        return nics_adapter(self._thread.call("list the network adapters", self._adapters.read), mac, primary)

    def _require_prepared(self, key: LinkKey) -> _Prepared:
        if self._prepared is None:
            raise DatapathError(f"cannot wire {key}: this agent has not applied the node's table yet; try again")
        return self._prepared

    async def _run_for_pod(self, work: Callable[[], Answer]) -> Answer:
        return await self._thread.run(work, limit_s=self._pod_limit_s)

    async def _run_for_node(self, work: Callable[[], Answer]) -> Answer:
        return await self._thread.run(work, limit_s=self._node_limit_s)


def _conflicts(foreign: Sequence[Endpoint]) -> tuple[Conflict, ...]:
    """The conflict with endpoints of other programs that have addresses of the pool."""
    if not foreign:
        return ()
    named = few([f"{one.name} ({one.id})" for one in foreign])
    command = "; ".join(removal(one.id) for one in foreign)
    message = (
        f"HCN endpoints of another program have addresses that are for pods: {named}. Pods that get these addresses "
        f"cannot be wired. Run: {command}"
    )
    return (Conflict(ConflictReason.ADDRESS_ELSEWHERE, message, command),)


def _address(spec: SandboxSpec) -> IPv4Address:
    first = spec.addresses[0]
    if len(spec.addresses) != 1 or not isinstance(first, IPv4Address):
        raise DatapathError(
            f"cannot wire {names.host_ifname(*spec.sandbox.interface)}: an HCN endpoint gets one IPv4 address, not "
            f"{len(spec.addresses)}"
        )
    return first
