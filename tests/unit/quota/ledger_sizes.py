"""Ledgers of many nodes, with names as clusters have them: what they weigh is what their names weigh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.vnet_quota import LONGEST_NIC_LABEL, LedgerEntry

KUBERNETES_MOST: Final = 5000
"""Nodes of a cluster (Kubernetes documentation, "Considerations for large clusters")."""
NAMES: Final[dict[str, Callable[[int], tuple[str, str]]]] = {
    "plain": lambda number: (f"node-{number:04}", f"azbox/node-{number:04}-nic"),
    "scale set": lambda number: (
        f"aks-nodepool1-12345678-vmss{number:06}",
        f"mc_production_cluster_westeurope/aks-nodepool1-12345678-vmss/{number}/aks-nodepool1-12345678-vmss",
    ),
    "longest": lambda number: (f"{number:0253}", f"{number:0{LONGEST_NIC_LABEL}}"),
}
"""By what the nodes are: a node's name and its NIC as the ledger writes it."""


def entries(count: int, names: str, *, each: int) -> dict[str, LedgerEntry]:
    """A ledger of that many nodes with `each` address."""
    made = (NAMES[names](number) for number in range(count))
    return {
        name: LedgerEntry(each, 1_234_567 + number, nic, WriteIntent.GROW) for number, (name, nic) in enumerate(made)
    }
