"""Whether a node must prove which VM it is before its NIC operations are executed. Pure.

What an agent says of its VM proves nothing: anyone can know a VM's ID, GUID and MACs. Two things say more:

- The Node's `spec.providerID`. Azure's cloud provider writes it, or the kubelet when it registers; nobody can
  change it afterwards, and no agent may set it. It is as trustworthy as whoever may create that Node.
- The VM's attested document: Azure signs that this VM asked its metadata service, with a nonce that the controller
  chose for this node (`azure_cni.api.nic_operation.Challenge`). That is proof, and it decides where two nodes claim
  the same VM.

A VM stays with the first node for which Azure confirmed it, until that node's pool goes, unless its Node names another
VM, or another node attests the VM and it has not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from azure_cni.errors import AccessDenied
from azure_cni.model.identity import IdentityClaim
from azure_cni.quota.operation_checks import names_another, vm_named

NONCE_DIGITS: Final = 10
"""As many as the documentation of the metadata service allows."""


class Required(StrEnum):
    """Which nodes must attest their VM: `azure.attestation.required` of the chart."""

    WITHOUT_PROVIDER_ID = "withoutProviderID"
    ALWAYS = "always"
    NEVER = "never"


def unproven(provider_id: str, *, required: Required, contested_by: str, node: str) -> str:
    """Why this node must attest its VM first, and what to do; "" if it need not.

    `provider_id` is its Node's, and names no other VM. `contested_by` is the node that was found to be the same VM
    without having attested it, "" if there is none.
    """
    if required is Required.NEVER:
        return ""
    if contested_by:
        why = f"node {contested_by} was found to be the same VM"
    elif required is Required.ALWAYS:
        why = "azure.attestation.required is always"
    elif vm_named(provider_id):
        return ""
    else:
        why = "its Node names no VM of Azure in spec.providerID"
    return (
        f"cannot execute a NIC operation of node {node}: it must attest which VM it is, because {why}; its agent does "
        "that automatically if it is of the controller's version: upgrade it, and see its log; without attestation, "
        "either the Node needs a spec.providerID, which Azure's cloud provider or the kubelet (--provider-id) writes "
        "when it registers, or the chart azure.attestation.required=never"
    )


def taken(claim: IdentityClaim, *, holder: str, node: str) -> AccessDenied:
    """The error that says that the VM stays with another node."""
    return AccessDenied(
        f"cannot execute a NIC operation of node {node} for VM {claim.vm_id}: it was found to be the VM of node "
        f"{holder}; was the node renamed? then delete the old one: kubectl delete node {holder}"
    )


def stays(claim: IdentityClaim, *, provider_id: str, attested: bool, rival_attested: bool) -> bool:
    """Whether a VM stays with its node when another node claims to be the same VM.

    `provider_id` and `attested` are those of the VM's node. That the rival's Node names the VM is no proof: its kubelet
    could have written that.
    """
    outdone = rival_attested and not attested
    return not outdone and not names_another(provider_id, vm=claim.vm_resource_id)
