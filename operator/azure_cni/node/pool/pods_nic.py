"""On which NIC the pods of a node are when nobody says it: by the addresses that the VM's NICs have.

An agent that starts reads that in its pool's status. There is none to read while the API server is silent, nor in a
pool that was deleted and made again: what the former one had in its spec and status is gone with it. The NIC that is
wanted then need not be the one that pods have their addresses of, and to prepare the kernel for it would cut them off.
So the pool is on the NIC that has an address of a pod; all pods of a node have theirs of one NIC.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from azure_cni.errors import AccessDenied
from azure_cni.model.identity import NodeIdentity, is_same
from azure_cni.model.nic import SubnetID
from azure_cni.model.pod_subnets import NicMissing
from azure_cni.model.text import counted, few
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.schedule import Schedule

R = TypeVar("R")


class PodsNic:
    """Looks for it. `find` asks Azure for each NIC; `looks_elsewhere` says whether it has more to look at than last."""

    def __init__(self, core: NodeCore, *, pool_state: PoolState, pool_object: PoolObject, schedule: Schedule) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._schedule = schedule
        self._looked: tuple[bool, tuple[SubnetID, ...]] | None = None

    @property
    def looks_elsewhere(self) -> bool:
        """The pool is there now, or its spec names another subnet."""
        return self._looked != self._places()

    async def find(self, wanted: SubnetID) -> NodeIdentity | None:
        """The NIC that has an address of a pod. Where none of the VM's NICs has one any more, that in `wanted`.

        None while the API server is silent and may know more than what can be seen. NicMissing where it does not: the
        pods may have addresses of a NIC that cannot be asked for. CloudError when Azure does not answer.
        """
        self._looked = self._places()
        known, named = self._looked
        primary = await self._ask(self._core.ports.cloud.identify())
        if await self._has_pods(primary):
            return primary
        listed = await self._ask(self._core.ports.cloud.other_subnets())
        places = [primary.subnet_id]
        for subnet in (*named, *(listed or ())):
            if any(is_same(subnet, one) for one in places):
                continue
            places.append(subnet)
            identity = await self._in(subnet)
            if identity is not None and await self._has_pods(identity):
                return identity
        if not known:
            return None
        if listed is None:
            raise NicMissing(self._cannot_tell(places))
        return await self._ask(self._core.ports.cloud.identify(wanted))

    def _places(self) -> tuple[bool, tuple[SubnetID, ...]]:
        """Whether the pool was read, and in which subnets its NIC could be by what people wrote."""
        spec = self._pool_state.pod_subnet
        ruled = tuple(rule.subnet for rule in self._core.settings.pod_subnets)
        return self._pool_object.pool is not None, ruled if spec is None else (spec, *ruled)

    async def _in(self, subnet: SubnetID) -> NodeIdentity | None:
        """None where the VM has no NIC there, or the controller has this node claim none there."""
        try:
            return await self._ask(self._core.ports.cloud.identify(subnet))
        except (NicMissing, AccessDenied):
            return None

    async def _has_pods(self, identity: NodeIdentity) -> bool:
        """Whether an address of a pod is on that NIC, in whatever use it is there."""
        view = await self._ask(self._core.ports.nic_of(identity).read())
        shown = view.addresses | {address for config in view.excluded for address in config.addresses}
        return any(slot.address in shown for slot in self._core.stored.ledger.slots if slot.holder is not None)

    def _cannot_tell(self, places: list[SubnetID]) -> str:
        held = sorted(slot.address for slot in self._core.stored.ledger.slots if slot.holder is not None)
        have = counted(len(held), "pod that runs has its address", "pods that run have their addresses")
        name = self._pool_object.pool_or_unread.name
        return (
            f"cannot tell on which NIC the pool of node {name} is: its NodeIPPool was made again and says nothing of "
            f"it yet, and {have} ({few(held)}) of none of the NICs in {', '.join(places)}. If they are in another "
            f"subnet, name it in spec.nic.subnet of NodeIPPool {name}; else drain the node (kubectl drain {name} "
            "--ignore-daemonsets --delete-emptydir-data). Their network stays as it is, and no pod starts here before"
        )

    async def _ask(self, call: Coroutine[Any, Any, R]) -> R:
        with self._schedule.azure_wait(self._core.ports.clock):
            return await call
