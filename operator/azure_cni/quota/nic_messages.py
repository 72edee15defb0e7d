"""Why a node is granted nothing, or nothing more, because of the NIC that it names. As in `messages`, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from azure_cni.api.vnet_quota import LONGEST_NIC_LABEL, LedgerEntry
from azure_cni.model.text import counted
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord

NIC_UNKNOWN: Final = "NicUnknown"
NIC_CHANGED: Final = "NicChanged"
NIC_FOREIGN: Final = "NicForeign"
NIC_READ: Final = "Microsoft.Network/networkInterfaces/read"
INSTANCE_NIC_READ: Final = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces/read"


def on_nic_unseen(node: NodeRecord, *, why: str = "Azure is asked in a moment") -> Explanation:
    """Its pool names a NIC that is new to the ledger, and that Azure did not show."""
    return Explanation(
        NIC_CHANGED,
        f"nothing is granted: the NIC of the node is another than before, and cannot be confirmed as {node.nic}: "
        f"{why}; the controller asks again each minute, for which its identity needs {_read_of(node.nic)} on the NIC",
    )


def _read_of(nic: str) -> str:
    """The action that reads it: RESOURCE-GROUP/NAME, or an instance's with the names of its set and of itself."""
    return NIC_READ if nic.count("/") <= 1 else INSTANCE_NIC_READ


def on_nic_changing(node: NodeRecord) -> Explanation:
    """It changed within the minute."""
    return Explanation(
        NIC_CHANGED,
        f"nothing is granted: the NIC of the node changed more than once in a minute, now to {node.nic}; it is "
        "checked again within a minute; two VMs may have the name of this node",
    )


def on_foreign_nic(node: NodeRecord, *, vm: str, named: str) -> Explanation:
    """Azure shows its NIC on the VM `vm`, and its Node says that it is the VM `named`."""
    return Explanation(
        NIC_FOREIGN,
        f"nothing more is granted: Azure shows the NIC {node.nic} on {vm}, and the Node {node.name} says that it is "
        f"{named} (spec.providerID, which cannot be changed); was the VM moved or recreated? then delete the Node "
        f"(kubectl delete node {node.name}) and restart its kubelet, which registers it again; else this node claims "
        "the NIC of another",
    )


def on_former(node: NodeRecord, former: Mapping[str, LedgerEntry]) -> Explanation:
    """It had as many NICs before as the ledger keeps."""
    nics = ", ".join(sorted(entry.nic for entry in former.values()))
    return Explanation(
        NIC_CHANGED,
        f"nothing is granted for {node.nic}: the node had {len(former)} other NICs before whose addresses are still "
        f"reserved ({nics}); they are free when Azure shows that those NICs are gone or hold none of azure-cni: delete "
        "them, or let the node go back to one of them",
    )


def on_unwritable(node: NodeRecord) -> Explanation:
    """The ledger has no room for such a name, and Azure has none such."""
    return Explanation(
        NIC_UNKNOWN,
        f"nothing is granted: status.nicID of NodeIPPool {node.name} is no NIC of Azure's: RESOURCE-GROUP/NAME has "
        f"{counted(len(node.nic), 'character')} where {LONGEST_NIC_LABEL} are possible; let the node's "
        f"agent make the pool again: kubectl delete nodeippool {node.name}",
    )
