"""What the use cases of a node need from outside, named by need; what they need of Azure is in `azure_ports`.

Each port is small, and is declared here by its consumer. The adapters implement them; the fakes in tests/ do too,
and one contract suite holds both to the same behaviour. Every method raises only errors of `azure_cni.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, NewType, Protocol, Self

from azure_cni.api.node_ip_pool import NodeIPPool, Recall, Request
from azure_cni.api.pod_annotations import PodCondition
from azure_cni.datapath.interface import NO_OPTIONS, Interface, PodOptions, Wiring
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.datapath.uplink import RouteDecision, Uplink
from azure_cni.ipam.address_state import Holder, LinkParameters, Sandbox, Slot
from azure_cni.ipam.ledger import Change
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import Address
from azure_cni.node.pods.liveness import Occupancy


class Clock(Protocol):
    """Time as the ledger needs it."""

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included: never goes back, and outlives the agent as its ledger does."""

    def utc(self, *, ahead_s: float = 0.0) -> str:
        """Wall clock for people, now or that many seconds ahead: RFC 3339, seconds, UTC."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a node may hold on its NIC, and give back; `request_id` is what it answers (0: the newest is not yet)."""

    count: int
    request_id: int
    refusal: str = ""
    """CamelCase cause when less was granted, or when the answer is put off (`QuotaExceeded`, `Throttled`), else ""."""
    message: str = ""
    ceiling: int | None = None
    """The most that this node may be granted; None where that is not said."""
    recall: Recall | None = None


class Grants(Protocol):
    """Who allows addresses: this node itself, or the controller of the cluster."""

    recorded: bool
    """A request must stand in the pool before it can be answered."""

    def read(self, pool: NodeIPPool, request: Request) -> Grant:
        """The answer to `request`, from the pool as last seen. Never blocks: an answer is a change of the pool."""

    def status(self, grant: Grant) -> dict[str, Any]:
        """The fields of the pool's status that this node itself must write for the grant; none where others grant."""


class Pools(Protocol):
    """This node's NodeIPPool in the Kubernetes API, and nothing else there."""

    async def read(self) -> NodeIPPool | None:
        """The object, or None when there is none."""

    async def create(self, node: Mapping[str, Any]) -> NodeIPPool:
        """Make the object, owned by the Node. The one that exists is returned when it was there already."""

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        """Merge `status` into the object's status subresource (RFC 7386: None removes); returns the object.

        `guarded` makes it a compare-and-swap on `pool`: KubeConflict when the object changed since.
        """


class NodeObject(Protocol):
    """This node's own Node object."""

    async def read_node(self) -> dict[str, Any]:
        """The object."""

    async def write_taints(self, node: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> None:
        """Make `taints` the object's taints: a compare-and-swap on `node`, KubeConflict when it changed since."""


class PodList(Protocol):
    """The pods of this node in the Kubernetes API."""

    async def list(self) -> Sequence[Mapping[str, Any]]:
        """All of them, as they are now. KubeError when there is no answer."""


class PodConditions(Protocol):
    """Conditions of pods of this node."""

    async def write(self, pod: Mapping[str, str], condition: PodCondition) -> None:
        """Set the condition on the pod of that reference (namespace, name, uid), and leave its others alone.

        KubeError; KubeNotFound when the pod is gone, KubeInvalid when another has its name.
        """


class Events(Protocol):
    """Kubernetes events, for people who `kubectl describe`. Repeats are counted, not multiplied; never raises."""

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        """`regarding` is an object reference (kind, namespace, name, uid); `kind` is Normal or Warning.

        One with the same reason and `cause` is a repeat: it raises the event's count and replaces its message.
        """


class LedgerStore(Protocol):
    """Where the ledger outlives the agent."""

    def load(self) -> Iterable[Slot]:
        """All slots as last saved; nothing on a fresh boot."""

    def save(self, change: Change) -> None:
        """Write all of the change, or raise LedgerError having written none of it."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """All that a data plane needs to wire one sandbox, and to check it later.

    `netns` is where its network namespace can be opened now; `link` is what it takes from the NIC. Of `addresses` those
    of IPv4 come first, and in dual stack one of IPv6 for each follows, in the same order. `pod` is the namespace and
    the name of the pod that it is of; two empty words where it is none's. `asked` counts when it is wired.
    """

    sandbox: Sandbox
    netns: str
    addresses: tuple[Address, ...]
    link: LinkParameters
    pod: tuple[str, str] = ("", "")
    asked: PodOptions = NO_OPTIONS

    @property
    def ipv4(self) -> tuple[IPv4Address, ...]:
        """Its addresses of that family."""
        return tuple(address for address in self.addresses if isinstance(address, IPv4Address))


LinkKey = NewType("LinkKey", str)
"""By which a data plane knows the link of a sandbox; what it means is the data plane's own (a name, a GUID)."""


@dataclass(frozen=True, slots=True)
class ObservedSandbox:
    """One of our links, as the data plane shows it.

    `addresses` are those that lead to it; `mtu` in bytes; `node` are its interfaces outside the sandbox.
    """

    key: LinkKey
    addresses: frozenset[Address] = frozenset()
    mtu: int = 0
    node: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class HostChange:
    """What others changed, as far as it is known: the `node`'s own part (table, switches, uplink, policy rules), or
    what leads to its `sandboxes` (routes, neighbours). `cause` says what and, where that can be known, by whom.
    """

    node: bool = False
    sandboxes: bool = False
    cause: str = ""

    @classmethod
    def everything(cls, cause: str) -> Self:
        """Nobody knows what changed: compare all."""
        return cls(node=True, sandboxes=True, cause=cause)

    def merged(self, other: HostChange) -> HostChange:
        """Both at once; the first cause stands for both."""
        return HostChange(self.node or other.node, self.sandboxes or other.sandboxes, self.cause or other.cause)


class Datapath(Protocol):
    """The kernel: sandboxes and the node's own table."""

    async def attach(self, spec: SandboxSpec) -> Wiring:
        """Wire one sandbox; a repeat for a sandbox wired alike is the same result. On error nothing is left, unless it
        is DatapathOutcomeUnknown: then it may be wired, now or in a moment.
        """

    async def detach(self, sandbox: Sandbox) -> None:
        """After this no packet reaches or leaves the sandbox; the link itself may go a moment later."""

    async def remove(self, key: LinkKey) -> None:
        """As `detach`, for a link that `sandboxes` lists and the ledger does not know."""

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Each difference between the kernel and what the sandbox should be, as words; empty when it is right."""

    async def restore_routes(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Put back what is missing of that which leads to a sandbox; returns it as words. Nothing is done without such
        a link, or where somebody turned it off. DatapathError while the address that a route names as source is away.
        """

    def key(self, sandbox: Sandbox) -> LinkKey:
        """By which `sandboxes` lists this one: the same in every process and after every restart."""

    def is_complete(self, observed: ObservedSandbox, spec: SandboxSpec) -> bool:
        """Whether `restore_routes` had nothing to do when the sandbox was observed."""

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        """All our links, for comparing with the ledger."""

    async def occupancy(self, holders: Sequence[Holder]) -> tuple[Occupancy, ...]:
        """Of each sandbox, whether processes are in its network namespace: a walk over all processes of the node."""

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's interface; DatapathError where none can be it. Of several the likeliest (`datapath.uplink`)."""

    async def forwarding(
        self, destinations: Sequence[IPv4Address], *, source: IPv4Address, interface: str
    ) -> tuple[RouteDecision, ...]:
        """What the kernel's routing does with packets from `source` that come in by that interface of the node, in the
        destinations' order. Nothing is sent and nothing changed. DatapathError where there is no such interface.
        """

    async def apply_node(self, table: NodeTable) -> HostReport:
        """Make the node's table, sysctls and uplink right; returns what had drifted and what others do against it."""

    async def guarded_mode(self) -> ModeName | None:
        """The mode whose guards the kernel has, whoever loaded them; None where it has none of any mode."""

    async def set_egress(self, addresses: frozenset[IPv4Address]) -> None:
        """Make these the addresses that what their pods send out of the VNet keeps. DatapathError where they are some,
        and there is no table, or it knows no such addresses.
        """

    async def forget_connections(self, addresses: frozenset[Address]) -> None:
        """Delete the connections that the kernel tracks of these addresses, which no sandbox has at the moment.

        A later sandbox with the address would inherit their translations. What fails is logged and left.
        """

    async def changed(self) -> HostChange:
        """Wait until somebody else changed something that may concern node or sandboxes; for one waiter at a time. Own
        changes are none, but what `apply_node` puts right may be announced. Not every change is heard of.
        """


class Observer(Protocol):
    """Hooks for measurements; called synchronously, must not block or raise."""

    def cni(self, verb: str, code: int, seconds: float, *, container_id: str = "") -> None:
        """A CNI request was answered; code 0 is success. `container_id`: of an ADD that could be read, else ""."""

    def stage(self, stage: str, seconds: float) -> None:
        """A part of an ADD or DEL: `queue`, `ledger`, `netlink`."""

    def azure(self, operation: str, code: str, seconds: float) -> None:
        """A call to Azure was answered; code is the HTTP status, Azure's error code, or `unreachable`."""

    def throttled(self, seconds: float) -> None:
        """Azure asked to wait this long."""

    def reconciled(self, result: str) -> None:
        """One pass of the reconciler ended: `unchanged`, `waiting`, what a write did (`grew`), or an error's reason."""

    def repaired(self, kind: str) -> None:
        """A difference between ledger, kernel and NIC was put right."""

    def internal_error(self, activity: str) -> None:
        """An activity failed by a fault of azure-cni."""
