"""Whether the NIC that a node's pool names is on that node's VM: Azure shows the one, the Node object the other.

A pool is its agent's to write, so it may name another node's NIC. Azure shows which VM a NIC is on
(`virtualMachine.id`), and a Node which VM it is (`spec.providerID`), where Azure's cloud provider or the kubelet wrote
it. If the two contradict each other, the node is granted nothing more, and its pool says so. If one of them is missing,
nothing is refused.

Azure is asked in parallel to the rounds of grants, a few times a second and once a minute for each node. So neither a
slow Azure nor a node that names a new NIC every second keeps others from their addresses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from azure_cni.api.vnet_quota import nic_resource_id
from azure_cni.cluster.nic_checks import NIC_READ_TIMEOUT_S
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ClusterPorts
from azure_cni.errors import AccessDenied, AzureCniError, CloudUnreachable
from azure_cni.faults import Faults
from azure_cni.model.nic import VNetID
from azure_cni.quota import nic_messages
from azure_cni.quota.messages import NOTHING, Explanation
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.operation_checks import names_another, vm_named
from azure_cni.quota.quota_status import on_owner_denied

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""When a contradiction, or an unanswered question, is checked again; also the minimum interval for any node."""
UNKNOWN_S: Final = 600.0
"""When to retry if the providerID was missing: the cloud provider writes it soon after the Node is created."""
SPACING_S: Final = 0.25
"""Between two nodes: the resource manager allows one principal 25 reads a second, and others need them too."""
LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Finding:
    """What was found of one node's NIC."""

    nic: str
    uid: str
    at_s: float
    again_s: float
    """Seconds after which to look again, if the node does not change."""
    explanation: Explanation = NOTHING

    def is_of(self, node: NodeRecord) -> bool:
        return (self.nic, self.uid) == (node.nic, node.version.uid)


class NicOwners:
    """Of one VNet's nodes. `found` is called when one is refused, or no longer."""

    def __init__(
        self, *, ports: ClusterPorts, node_index: NodeIndex, vnet_id: VNetID, found: Callable[[], None]
    ) -> None:
        self._ports = ports
        self._node_index = node_index
        self._vnet_id = vnet_id
        self._found = found
        self._faults = Faults(ports.observer.internal_error)
        self._findings: dict[str, _Finding] = {}
        self.denied = ""
        """What Azure denied when it was last asked; "" where it answered."""

    def refused(self, nodes: Iterable[NodeRecord]) -> dict[str, Explanation]:
        """The nodes whose NIC is on another VM, each with the explanation for its pool."""
        known = ((node, self._findings.get(node.name)) for node in nodes)
        return {
            node.name: finding.explanation
            for node, finding in known
            if finding is not None and finding.is_of(node) and finding.explanation != NOTHING
        }

    async def run(self) -> None:
        """Until cancelled: look into one node after another."""
        while True:
            for node in self._due():
                await self._look_into(node)
                await asyncio.sleep(SPACING_S)
            await asyncio.sleep(LOOK_S)

    def _due(self) -> list[NodeRecord]:
        now_s = self._ports.clock.monotonic_s()
        nodes = {node.name: node for node in self._node_index.of(self._vnet_id) if node.nic}
        self._findings = {name: known for name, known in self._findings.items() if name in nodes}

        def is_due(node: NodeRecord) -> bool:
            known = self._findings.get(node.name)
            if known is None:
                return True
            return now_s >= known.at_s + (known.again_s if known.is_of(node) else AGAIN_S)

        return [node for node in nodes.values() if is_due(node)]

    async def _look_into(self, node: NodeRecord) -> None:
        before = self._findings.get(node.name)
        explanation, again_s = before.explanation if before is not None and before.is_of(node) else NOTHING, AGAIN_S
        try:
            async with asyncio.timeout(NIC_READ_TIMEOUT_S):
                with self._faults.guard("nic", about=node.name):  # inside: to it, a timeout would be a fault
                    explanation, again_s = await self._judged(node)
        except TimeoutError:
            log.info("cannot find out whose nic it is", extra={"node": node.name, "error": CloudUnreachable.reason})
        except AzureCniError as error:  # what was found before still counts
            if isinstance(error, AccessDenied):
                self.denied = on_owner_denied(error)
            log.info("cannot find out whose nic it is", extra={"node": node.name, "error": str(error)})
        now_s = self._ports.clock.monotonic_s()
        self._findings[node.name] = _Finding(node.nic, node.version.uid, now_s, again_s, explanation)
        if (before.explanation if before is not None else NOTHING) == explanation:
            return
        if explanation != NOTHING:
            log.warning("a pool names the nic of another vm", extra={"node": node.name, "why": explanation.message})
        self._found()

    async def _judged(self, node: NodeRecord) -> tuple[Explanation, float]:
        """The contradiction, if any, and when to check again. The Node is read first; without it Azure is not asked."""
        provider_id = await self._ports.nodes.provider_id(node.name)
        if not vm_named(provider_id):
            return NOTHING, UNKNOWN_S
        vm = await self._ports.vnets.vm_of(nic_resource_id(node.nic, vnet_id=self._vnet_id))
        self.denied = ""
        if not vm:
            return NOTHING, UNKNOWN_S
        named = names_another(provider_id, vm=vm)
        return (nic_messages.on_foreign_nic(node, vm=vm, named=named), AGAIN_S) if named else (NOTHING, float("inf"))
