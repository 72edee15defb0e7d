"""Which VM is whose: what nodes claim to be, what they have proven, and which of them may use a VM.

Each pool remembers the outcome: `status.nicOperationResult.identity` says which VM a controller last found the node to
be, and whether the node attested that. So nothing is lost when another controller takes over, and a node attests its VM
once as long as its pool exists. `possession` has the rules.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from azure_cni.api.nic_operation import Challenge, Identify, NicOperation
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.operation_result_codec import read_challenge, read_identified
from azure_cni.cluster.operation_calls import insist
from azure_cni.cluster.ports import Attestations, Machines, Nodes
from azure_cni.cluster.possession import NONCE_DIGITS, Required, stays, taken, unproven
from azure_cni.errors import CloudError, NotAttested
from azure_cni.model.identity import NodeIdentity
from azure_cni.quota.operation_checks import not_its_vm, refuse_unlike


@dataclass(slots=True, eq=False)
class _Node:
    """What is known of one node; forgotten as a whole, with the node's pool."""

    name: str
    vm_id: str = ""
    """The VM that Azure last confirmed for it. Never what its agent shows: that could be another node's."""
    attested: str = ""
    """The VM that it has proven to be, by its GUID."""
    provider_id: str = ""
    """Its Node's `spec.providerID`, which never changes while that Node exists."""


class VMClaims:
    """One for a term of leadership. `required`: which nodes must attest."""

    def __init__(self, *, nodes: Nodes, machines: Machines, attestations: Attestations, required: Required) -> None:
        self._node_objects = nodes
        self._machines = machines
        self._attestations = attestations
        self._required = required
        self._nodes: dict[str, _Node] = {}

    def see(self, pool: NodeIPPool) -> None:
        """A pool was listed, added or changed; after `forget`, if it is another of that name."""
        node = self._nodes.setdefault(pool.name, _Node(pool.name))
        identified = read_identified(pool)
        node.vm_id = node.vm_id or identified.vm_id
        if identified.attested:
            node.attested = node.attested or identified.vm_id

    def forget(self, name: str) -> None:
        """A pool was deleted."""
        self._nodes.pop(name, None)

    async def look(self, name: str, *, again: bool) -> None:
        """Read the Node's providerID if it is not known yet, or `again`."""
        await self._look(self._nodes[name], again=again)

    def attested(self, name: str, result: object) -> bool:
        """Whether the result is an identity that this node has proven."""
        node = self._nodes.get(name)
        return node is not None and isinstance(result, NodeIdentity) and node.attested == result.vm_id

    async def judge(self, name: str, pool: NodeIPPool, operation: NicOperation) -> NodeIdentity | Challenge:
        """The VM that the node claims to be, if that is true; a challenge if the node must prove it first.

        NotAttested, if its proof fails; CloudError in words that reveal nothing about a VM that is
        not its own, with the cause below it.
        """
        node = self._nodes[name]
        try:
            refuse_unlike(operation.claim, node.provider_id, node=name)
            challenge = await self._challenge(node, pool, operation)
            return challenge or await self._own(node, operation)
        except NotAttested:
            raise
        except CloudError as error:
            public = not_its_vm(error, node=name)
            if public is error:
                raise
            raise public from error

    async def _challenge(self, node: _Node, pool: NodeIPPool, operation: NicOperation) -> Challenge | None:
        """The challenge that must be met first; None if none.

        A nonce is good for one document: the result of the operation that brings the document replaces the challenge.
        """
        vm_id = operation.claim.vm_id
        if node.attested == vm_id:
            return None
        if isinstance(operation, Identify) and operation.document:
            try:
                await self._attestations.verify(operation.document, nonce=read_challenge(pool), vm_id=vm_id)
            except NotAttested as error:
                raise NotAttested(f"cannot execute a NIC operation of node {node.name}: {error}") from error
            node.attested = vm_id
            return None
        holder = self._holder(vm_id, but=node)
        contested_by = holder.name if holder is not None and holder.attested != vm_id else ""
        why = unproven(node.provider_id, required=self._required, contested_by=contested_by, node=node.name)
        return Challenge(f"{secrets.randbelow(10**NONCE_DIGITS):0{NONCE_DIGITS}}", why) if why else None

    async def _own(self, node: _Node, operation: NicOperation) -> NodeIdentity:
        """The VM, if Azure confirms the claim and no other node has it."""
        claim = operation.claim
        identity = await self._machines.identify(claim)
        while holder := self._holder(claim.vm_id, but=node):
            await self._look(holder)
            attested, rival = (one.attested == claim.vm_id for one in (holder, node))
            if stays(claim, provider_id=holder.provider_id, attested=attested, rival_attested=rival):
                raise taken(claim, holder=holder.name, node=node.name)
            holder.vm_id = ""
        node.vm_id = identity.vm_id
        return identity

    async def _look(self, node: _Node, *, again: bool = False) -> None:
        """Read the Node's providerID. Once it is set, only a new Node can have another one."""
        if again or not node.provider_id:
            node.provider_id = await insist(lambda: self._node_objects.provider_id(node.name), pool=node.name) or ""

    def _holder(self, vm_id: str, *, but: _Node) -> _Node | None:
        return next((node for node in self._nodes.values() if node.vm_id == vm_id and node is not but), None)
