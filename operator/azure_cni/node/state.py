"""What the parts of a node show each other: who the node is, whether pods can be wired, and what they can expect.

An ADD that waits for an address is woken by each change that may concern it (`Broadcast`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import LinkParameters
from azure_cni.model.identity import ModeName, NodeIdentity
from azure_cni.model.nic import SubnetID


@dataclass(frozen=True, slots=True)
class AddressForecast:
    """Whether a waiting pod can expect an address soon, and what its events say if not.

    `decided_s` is the boot time of the decision: an ADD believes only a decision taken after it began to wait.
    `brief` is for those who see their pods and not the nodes, where `message` repeats what Azure or the API server
    said: subscriptions, names of resources and identities are none of theirs.
    """

    available_soon: bool
    reason: str
    message: str
    decided_s: float = 0.0
    brief: str = ""

    @property
    def for_pods(self) -> str:
        """What the events and errors of pods may say."""
        return self.brief or self.message


ADDRESSES_FREE = "AddressesFree"
"""The reason of a forecast that needs none."""

STARTING = AddressForecast(
    available_soon=True,
    reason="AgentStarting",
    message="the agent has not yet read who this node is in Azure; it keeps trying",
)


@dataclass(frozen=True, slots=True)
class Advice:
    """Where a node's words send people, as ends of sentences: to kubectl, or to the plugin on a VM without a cluster.

    `see_why`: what shows a failure whole; NODE in it is the pool's name.
    """

    unanswered: str
    """What to look at while a request for addresses has no answer."""
    see_why: str
    at_once: str
    """When what Azure refused is tried again without a wait."""
    raise_limit: str
    """Where the number that bounds the pool is set; LIMIT in it is `max` or `size`, NODE the pool's name."""
    run_fewer: str
    """What helps where no number can be raised."""
    holders: str
    """Who has the addresses."""
    renew: str
    """What to do with those whose addresses are lost."""


IN_CLUSTER: Final = Advice(
    unanswered="see whether the controller runs: kubectl get pods -A -l app.kubernetes.io/component=controller",
    see_why="kubectl describe nodeippool NODE",
    at_once="when the pool's spec changes or somebody asks to read the NIC (annotation azure-cni.io/read-now)",
    raise_limit="spec.LIMIT of the NodeIPPool (kubectl edit nodeippool NODE), or pool.LIMIT of the chart",
    run_fewer="let fewer pods onto it (maxPods of its kubelet)",
    holders="pods",
    renew="delete",
)

ON_A_VM: Final = Advice(
    unanswered="see what the plugin, which answers itself, says: journalctl -u azure-cni-docker",
    see_why="azure-cni docker status",
    at_once="after systemctl restart azure-cni-docker",
    raise_limit="pool.LIMIT in the settings of azure-cni docker",
    run_fewer="run fewer containers on it",
    holders="containers",
    renew="recreate",
)


class Broadcast:
    """Wakes all who wait now; a later waiter waits for the next time.

    An `asyncio.Event` must be cleared by somebody, and a condition needs a lock held; here `notify_all` leaves a new
    event behind. Nothing is lost as long as a waiter looks at the state after each wake-up and before it waits.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify_all(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """True when notified within the time, False when not."""
        event = self._event
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class AppliedTable:
    """The node's table, and the names of the interfaces in it: the NIC's, (`way_out`) that of the default route where
    that is another one, and (`node_nic`) that of the node's own NIC where pods have another.
    """

    table: NodeTable
    uplink: str
    way_out: str = ""
    node_nic: str = ""


class NodeState:
    """What all of the node reads: identity, link parameters and forecast, and the figures that people watch.

    No locks: all readers and writers are on one event loop. Each field has one writer, which is named here.
    """

    def __init__(self) -> None:
        # The Azure reader's.
        self.identity: NodeIdentity | None = None
        self.pending_subnet: SubnetID | None = None
        """In which the NIC is that the pool is to move to, and has not yet; None where it is to stay."""
        self.nic_read_s: float | None = None
        """Boot time at which the NIC was last read; None before the first time."""
        # The node network's.
        self.link: LinkParameters | None = None
        self.pending_mode: ModeName | None = None
        """The mode that the node is to change over to, and has not yet."""
        self.routable: frozenset[IPv4Network] = frozenset()
        """Prefixes that see pods by their own address, as the node's table has them."""
        self.applied: AppliedTable | None = None
        """The node's table as last applied; None before that."""
        self.kernel_conflicts: tuple[Conflict, ...] = ()
        """What others on the host do against pods' traffic, as last found in the kernel."""
        self.conntrack: ConntrackUsage | None = None
        """The kernel's table of connections, as last read; None where the kernel says nothing of it."""
        # The taint's.
        self.tainted = False
        """The node's taint keeps pods away (`node.pool.taint`)."""
        # The installation's.
        self.obstacle = ""
        """Why no pod can start although there may be addresses (a plugin of the chain is missing), in words."""
        self.conflist_conflicts: tuple[Conflict, ...] = ()
        """Configurations of others that the runtime prefers to ours."""
        # The status builder's.
        self.at_limit = False
        self.near_limit: bool | None = None
        """Pods have most of the addresses that the node may hold (`ipam.near_limit`); None before that is known."""
        self.target = 0
        self.maximum = 0
        self.requested = 0
        """Addresses that the node asks to hold."""
        self.granted = 0
        """Addresses that it may hold, as last answered."""
        self.waiting = 0
        """Pods that need an address, beyond those for which one is free."""
        self.asked_s: float | None = None
        """Boot time since when a request for a NIC write has had no answer; None when there is none."""
        self.throttled = False
        """Azure asked to wait, and the time is not over."""
        self.forecast = STARTING
        self.broadcast = Broadcast()

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """What others on the host do against pods and their traffic."""
        return (*self.conflist_conflicts, *self.kernel_conflicts)

    @property
    def ready(self) -> bool:
        """Sandboxes can be wired: the uplink is known and the node's table stands."""
        return self.link is not None

    @property
    def can_take_a_pod(self) -> bool:
        """A pod that came now would start: an address is free, or one is on its way, and nothing else is missing."""
        return self.ready and self.forecast.available_soon and not self.obstacle

    def publish_forecast(self, forecast: AddressForecast) -> None:
        """Publish a new forecast to every ADD that waits."""
        self.forecast = forecast
        self.broadcast.notify_all()
