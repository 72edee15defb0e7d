"""All pools of the cluster as the watch shows them, by node and by VNet.

What is kept may be old: every write that is decided from it is a compare-and-swap on the version it was read at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import is_newer
from azure_cni.model.nic import VNetID
from azure_cni.quota.node_record import NodeRecord, node_record


class NodeIndex:
    """The pools by name."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeRecord] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[NodeRecord]:
        return iter(self._nodes.values())

    def get(self, name: str) -> NodeRecord | None:
        """The pool of that node."""
        return self._nodes.get(name)

    def see(self, pool: NodeIPPool, *, now_s: float) -> bool:
        """A pool was listed, added, changed, or came back from a write. False when no grant depends on what is new."""
        node = node_record(pool, now_s=now_s)
        known = self._nodes.get(node.name)
        if known is not None:
            # Versions come from the watch and from the answers to our own writes, in no particular order.
            if not is_newer(node.version, than=known.version):
                return False
            # Since when it asks is known from the first version that had this request.
            if known.version.uid == node.version.uid and known.view.request == node.view.request:
                node = replace(node, asking_since_s=known.asking_since_s)
        self._nodes[node.name] = node
        return known is None or known.version.uid != node.version.uid or not node.asks_as(known)

    def forget(self, name: str, *, uid: str = "") -> None:
        """A pool was deleted. With `uid` only that one: another of its name may have been seen since."""
        known = self._nodes.get(name)
        if known is not None and uid in {"", known.version.uid}:
            del self._nodes[name]

    def vnets(self) -> dict[str, VNetID]:
        """The VNets that nodes are in, by lower-case ID."""
        return {node.vnet_id.lower(): node.vnet_id for node in self if node.vnet_id}

    def of(self, vnet_id: str) -> list[NodeRecord]:
        """The pools of one VNet whose agents have spoken."""
        wanted = vnet_id.lower()
        return [node for node in self if node.vnet_id.lower() == wanted]
