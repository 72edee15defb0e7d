"""The life of a container's place on the VNet, as Docker lives it.

    RequestAddress ──► CreateEndpoint ──► Join ──► Leave ──► DeleteEndpoint ──► ReleaseAddress
    assigned to        the endpoint's     link     link       the endpoint's     cools, or is free at once
    nobody known       from now on        offered  gone       no more            if it was never wired

The ledger holds an address from the first call to the last, under a sandbox that says how far it has come: `REQUESTED`
before its endpoint is known, the Docker network while the endpoint lives, `DELETED` afterwards. So a process that ends
anywhere in between leaves what the next one needs, and one ledger serves whoever else wires containers here.

Calls that end something forgive what is not there (any more): Docker repeats them after its own restarts. An address
whose last call never comes, because dockerd died, is taken back like that of a dead pod: once no link of it has been
there for a minute (`node.pods.liveness`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from azure_cni.datapath.interface import Wiring
from azure_cni.docker.address_memory import AddressMemory
from azure_cni.docker.ports import Forwarding, LinkHandover
from azure_cni.errors import ConfigInvalid, NoAddress, NodeNotReady
from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.ipam.claims import claimed, free_ones, taken_over, transferred
from azure_cni.model.identity import ModeName
from azure_cni.node.assembly import Node
from azure_cni.node.ports import Clock, Datapath, SandboxSpec

log = logging.getLogger(__name__)

REQUESTED: Final = "docker:requested"
DELETED: Final = "docker:deleted"
JOINING: Final = "docker:joining"
"""Networks that no runtime can name: Docker's IDs and CNI's names have no colon. The last is of locks alone, by the
path of a container's namespace: it joins one network after another.
"""
IFNAME: Final = "eth"
"""An endpoint has one interface. Docker numbers it in the container."""

REQUEST_WAITS_S: Final = 20.0
"""How long a request waits for a pool that grows. Docker does not repeat it: the container fails to start."""
UNUSED_S: Final = 5.0
"""After this time another container may name an address that was requested. Docker makes the endpoint of a request in
milliseconds, unless one of the two processes died in between; and the first endpoint that is made gets the address.
"""


class ContainerEndpoints:
    """Places of containers on one node. Safe for concurrent calls on one event loop."""

    def __init__(
        self,
        node: Node,
        *,
        datapath: Datapath,
        handover: LinkHandover,
        forwarding: Forwarding,
        clock: Clock,
        new_id: Callable[[], str],
        wait_s: float = REQUEST_WAITS_S,
        joined: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self._datapath = datapath
        self._handover = handover
        self._forwarding = forwarding
        self._clock = clock
        self._new_id = new_id
        self._wait_s = wait_s
        self._joined = joined
        """Somebody asks Docker whose endpoints there are."""
        self._memory = AddressMemory()
        self._waits: set[asyncio.Timeout] = set()
        self._ending = False

    def end_waits(self) -> None:
        """Refuse all that waits for an address, and whatever would wait from now on: this process ends."""
        self._ending = True
        for wait in self._waits.copy():
            wait.reschedule(asyncio.get_running_loop().time())

    async def request(self, pool: IPv4Network, wanted: IPv4Address | None = None, *, name: str = "") -> IPv4Address:
        """An address of `pool` that is held from now on: `wanted`; or what the container of that name had last, if it
        cools yet; or whichever has been free for longest.

        NoAddress, NodeNotReady, or ConfigInvalid where what the NIC has is outside of the pool.
        """
        holder = Holder(Sandbox(REQUESTED, self._new_id(), IFNAME))
        if wanted is not None:
            return self._claim(wanted, holder, pool, name=name)
        former = self._memory.former(name, self._node.stored.ledger.slots)
        if former is not None and former in pool:
            with suppress(NoAddress, NodeNotReady):
                return self._claim(former, holder, pool, name=name)
        async with self._node.sandboxes.locks.hold(holder.sandbox) as hold:
            try:
                slots = await self._waited(self._node.sandboxes.assignment.slots_for(holder, hold, wait_s=self._wait_s))
            except NoAddress as error:
                raise NoAddress(f"cannot give a container an address: {self._why()}", cause=error.cause) from error
            address = slots[0].address
            if address not in pool:
                self._node.sandboxes.assignment.give_back(holder)
                raise ConfigInvalid(
                    f"cannot give a container an address of --subnet {pool}: this VM's NIC has others ({address}); "
                    "create the network with the prefix of the NIC's subnet, or without --subnet"
                )
        self._memory.request(address, name=name, fresh=not self._node.sandboxes.assignment.may_have_cooled)
        self._node.reconciler.wake()
        return address

    async def release(self, address: IPv4Address) -> None:
        """Take an address back; one that nobody holds is a success. ConfigInvalid while its endpoint lives."""
        slot = self._slot(address)
        if slot is None or slot.holder is None:
            return
        sandbox = slot.holder.sandbox
        if sandbox.network == REQUESTED and self._memory.is_fresh(address):
            self._node.sandboxes.assignment.give_back(slot.holder)
        elif sandbox.network in {REQUESTED, DELETED}:
            await self._node.sandboxes.delete(sandbox)
        else:
            raise ConfigInvalid(
                f"cannot release {address}: {_whose(slot.holder)} has it; it is released once its endpoint is deleted"
            )
        self._memory.release(address, self._node.stored.ledger.slots)
        self._node.reconciler.wake()

    async def create(self, network_id: str, endpoint_id: str, address: IPv4Address) -> str:
        """Give a requested address to an endpoint; returns the MAC that its interface will have. RequestError."""
        sandbox, ledger = Sandbox(network_id, endpoint_id, IFNAME), self._node.stored.ledger
        slot = self._slot(address)
        other = slot.holder if slot is not None else None
        if other is not None and other.sandbox != sandbox and other.sandbox.network != REQUESTED:
            raise ConfigInvalid(f"cannot create endpoint {endpoint_id[:12]}: {_whose(other)} has {address}")
        self._node.stored.commit(taken_over(ledger, address, sandbox, requested=REQUESTED))
        self._memory.use(address)
        return self._handover.mac(sandbox)

    async def join(self, network_id: str, endpoint_id: str, *, netns: str) -> Wiring:
        """Wire the node's end; `Wiring.pod` is what Docker moves. ConfigInvalid, NodeNotReady or DatapathError."""
        sandbox, locks = Sandbox(network_id, endpoint_id, IFNAME), self._node.sandboxes.locks
        async with locks.hold(Sandbox(JOINING, netns or endpoint_id, JOINING)), locks.hold(sandbox):
            slots = self._required(sandbox)
            self._require_alone(sandbox, netns)
            link = slots[0].link or self._node.state.link
            if link is None:
                raise NodeNotReady(f"cannot wire a container yet: {self._why()}")
            if link.mode is not ModeName.TRANSPARENT:
                raise ConfigInvalid(
                    f"cannot wire a container: this node is in mode {link.mode}, and Docker's containers are wired in "
                    f"mode {ModeName.TRANSPARENT} alone; set spec.mode of its NodeIPPool"
                )
            await self._admit()
            wiring = await self._handover.offer(
                SandboxSpec(sandbox, netns, tuple(slot.address for slot in slots), link)
            )
            self._node.stored.commit(self._node.stored.ledger.hand_over(Holder(sandbox, netns)))
        self._joined()
        log.info("container joined", extra=_facts(sandbox, slots))
        return wiring

    async def leave(self, network_id: str, endpoint_id: str) -> None:
        """Cut the link, wherever its end is; the endpoint keeps its address. An unknown endpoint is a success."""
        sandbox = Sandbox(network_id, endpoint_id, IFNAME)
        async with self._node.sandboxes.locks.hold(sandbox):
            if slots := self._node.stored.ledger.holding(sandbox):
                await self._datapath.detach(sandbox)
                self._node.stored.commit(self._node.stored.ledger.hand_over(Holder(sandbox)))
                log.info("container left", extra=_facts(sandbox, slots))

    async def remove(self, network_id: str, endpoint_id: str) -> None:
        """The endpoint ends; its address is held until it is released. An unknown endpoint is a success."""
        sandbox = Sandbox(network_id, endpoint_id, IFNAME)
        async with self._node.sandboxes.locks.hold(sandbox):
            ledger = self._node.stored.ledger
            if slots := ledger.holding(sandbox):
                await self._datapath.detach(sandbox)
                deleted = Holder(Sandbox(DELETED, endpoint_id, IFNAME), _netns(slots))
                self._node.stored.commit(transferred(ledger, sandbox, deleted))

    def require(self, network_id: str, endpoint_id: str) -> None:
        """ConfigInvalid when there is no such endpoint."""
        self._required(Sandbox(network_id, endpoint_id, IFNAME))

    def count(self, network_id: str) -> int:
        """Endpoints of a network."""
        return sum(holder.sandbox.network == network_id for holder in self._holders())

    def _holders(self) -> tuple[Holder, ...]:
        return tuple(slot.holder for slot in self._node.stored.ledger.slots if slot.holder is not None)

    def _required(self, sandbox: Sandbox) -> tuple[Slot, ...]:
        slots = self._node.stored.ledger.holding(sandbox)
        if not slots:
            raise ConfigInvalid(
                f"cannot find endpoint {sandbox.container_id[:12]} of network {sandbox.network[:12]}: azure-cni holds "
                "no address for it"
            )
        return slots

    def _require_alone(self, sandbox: Sandbox, netns: str) -> None:
        """All our networks are one VNet, and a container has one default route: what came in by a second link would be
        answered by the first, with an address that is not that link's.
        """
        for other in self._holders():
            if netns and other.netns == netns and other.sandbox != sandbox and other.sandbox.network != DELETED:
                raise ConfigInvalid(
                    f"cannot join network {sandbox.network[:12]}: the container is on the VNet already, by network "
                    f"{other.sandbox.network[:12]}; all networks of azure-cni are the same VNet, so one is enough"
                )

    async def _waited(self, slots: Coroutine[Any, Any, tuple[Slot, ...]]) -> tuple[Slot, ...]:
        """The same, unless this process ends first: NodeNotReady."""
        try:
            async with asyncio.timeout(0 if self._ending else None) as wait:
                self._waits.add(wait)
                try:
                    return await slots
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            raise NodeNotReady(
                "cannot give a container an address: azure-cni is being stopped; start the container again in a moment"
            ) from None

    def _claim(self, wanted: IPv4Address, holder: Holder, pool: IPv4Network, *, name: str) -> IPv4Address:
        if wanted not in pool:
            raise ConfigInvalid(f"cannot assign {wanted}: it is outside of the network's --subnet {pool}")
        if not self._node.state.ready or self._changes_over:
            raise NodeNotReady(f"cannot assign {wanted}: this VM cannot wire a container yet: {self._why()}")
        slot, now_s = self._slot(wanted), self._clock.boottime_s()
        if slot is not None and slot.holder is not None:
            if slot.holder.sandbox.network != REQUESTED or now_s < slot.since_s + UNUSED_S:
                raise NoAddress(
                    f"cannot assign {wanted}: {_whose(slot.holder)} has it; {free_ones(self._node.stored.ledger)}",
                    cause="AddressInUse",
                )
            self._node.sandboxes.assignment.give_back(slot.holder, cools=True)
        ledger = self._node.stored.ledger
        self._node.stored.commit(claimed(ledger, wanted, holder, now_s=now_s, link=self._node.state.link))
        self._memory.request(wanted, name=name, fresh=slot is not None and slot.state is State.FREE)
        self._node.reconciler.wake()
        return wanted

    @property
    def _changes_over(self) -> bool:
        """Nobody is left who is wired in the mode of before, and nobody is to be again."""
        return self._node.state.pending_mode is not None and not self._node.stored.ledger.counts().assigned

    def _slot(self, address: IPv4Address) -> Slot | None:
        return next((slot for slot in self._node.stored.ledger.slots if slot.address == address), None)

    async def admit_again(self) -> None:
        """Have Docker's firewall forward for all that is wired here, also after somebody flushed it. DatapathError."""
        if any(holder.netns for holder in self._holders()) and await self._admit():
            log.warning("rules put back into the firewall's chain FORWARD, for containers that run")

    async def _admit(self) -> bool:
        """Whether something was missing."""
        identity = self._node.state.identity
        if identity is None:
            return False
        uplink = await self._datapath.uplink(identity.mac, identity.primary_ip)
        return await self._forwarding.admit(uplink.name)

    def _why(self) -> str:
        return self._node.state.forecast.message


def _whose(holder: Holder) -> str:
    """For people: Docker shows networks and endpoints by these IDs (`docker inspect`)."""
    network, endpoint, _ = holder.sandbox
    starting_or_ending = {REQUESTED: "a container that starts", DELETED: "a container that ends"}
    return starting_or_ending.get(network) or f"endpoint {endpoint[:12]} of network {network[:12]}"


def _netns(slots: tuple[Slot, ...]) -> str:
    return slots[0].holder.netns if slots[0].holder else ""


def _facts(sandbox: Sandbox, slots: tuple[Slot, ...]) -> dict[str, object]:
    return {
        "network": sandbox.network[:12],
        "endpoint": sandbox.container_id[:12],
        "address": ", ".join(str(slot.address) for slot in slots),
    }
