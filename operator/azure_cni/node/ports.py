"""What the use cases of a node need of the world, named by need.

Each port is small, and is declared here by its consumer. The adapters implement them; the fakes in tests/ do too,
and one contract suite holds both to the same behaviour. Every method raises only errors of `azure_cni.errors`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Protocol, Self

from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, NicView
from azure_cni.api.pool import Request
from azure_cni.datapath.conflicts import HostReport
from azure_cni.datapath.sandbox import Neighbour, Route, SandboxLinks, SandboxSpec
from azure_cni.datapath.snat import NodeTable
from azure_cni.datapath.uplink import Uplink
from azure_cni.errors import CloudError
from azure_cni.ipam.ledger import Change
from azure_cni.ipam.life import Sandbox, Slot
from azure_cni.node.liveness import Occupancy


class Clock(Protocol):
    """Time as the ledger needs it."""

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included: never goes back, and outlives the agent as its ledger does."""

    def utc(self, *, ahead_s: float = 0.0) -> str:
        """Wall clock for people, now or in so many seconds: RFC 3339, seconds, UTC."""


class Cloud(Protocol):
    """Azure, as far as a node asks who and where it is."""

    async def identify(self) -> NodeIdentity:
        """IMDS, then the VM and its NICs in ARM; the NIC is matched by MAC. CloudError when any of it fails."""

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""


class Claims(Protocol):
    """What this machine can say of itself without any permission in Azure."""

    async def claim(self) -> MachineClaim:
        """CloudError when the metadata service does not answer."""


class Nic(Protocol):
    """The one NIC of this node. No retries inside: a failure is told at once, and pacing is the reconciler's."""

    conclusive: tuple[type[CloudError], ...]
    """The errors of `write` after which a read shows all that came of it, unless Azure had accepted it (`accepted`).
    After any other it may still be carried out, for as long as the NIC's etag is the one that it was decided from."""

    async def read(self) -> NicView:
        """One GET."""

    async def write(self, seen: NicView, *, add: int = 0, remove: Collection[ConfigName] = ()) -> NicView:
        """Change the NIC in one write, guarded by `seen.etag`, wait for its operation, and read it again.

        With nothing to add or remove it is written as it is; when all of `remove` has left already, not at all.

        Adds `add` configurations (Dynamic, our name prefix, the primary's subnet and ASGs), leaves out those named in
        `remove`, which must be ours. Everything else goes back as it was read. Returns the NIC as it is afterwards.
        PreconditionFailed when it changed since `seen`; OperationFailed when the operation ended badly.
        """


@dataclass(frozen=True, slots=True)
class Grant:
    """What a node may hold on its NIC, and the request that this answers (0: the newest is not answered yet)."""

    count: int
    request_id: int
    refusal: str = ""
    """CamelCase cause when less was granted, or when the answer is put off (`QuotaExceeded`, `Throttled`), else ""."""
    message: str = ""
    ceiling: int | None = None
    """The most that this node may be granted; None where that is not said."""


class Grants(Protocol):
    """Who allows addresses: this node itself, or the controller of the cluster."""

    recorded: bool
    """A request must stand in the pool before it can be answered."""

    def read(self, pool: Mapping[str, Any], request: Request) -> Grant:
        """The answer to `request`, from the pool as last seen. Never blocks: an answer is a change of the pool."""

    def status(self, grant: Grant) -> dict[str, Any]:
        """The fields of the pool's status that this node itself must write for the grant; none where others grant."""


class Pools(Protocol):
    """This node's NodeIPPool in the Kubernetes API, and nothing else there."""

    async def read(self) -> dict[str, Any] | None:
        """The object, or None when there is none."""

    async def create(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Make the object, owned by the Node. The one that exists is returned when it was there already."""

    async def patch_status(
        self, pool: Mapping[str, Any], status: Mapping[str, Any], *, guarded: bool = False
    ) -> dict[str, Any]:
        """Merge `status` into the object's status subresource (RFC 7386: None removes); returns the object.

        `guarded` makes it a compare-and-swap on `pool`: KubeConflict when the object changed since.
        """


class Node(Protocol):
    """This node's own Node object."""

    async def read_node(self) -> dict[str, Any]:
        """The object."""

    async def write_taints(self, node: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> None:
        """Make `taints` the object's taints: a compare-and-swap on `node`, KubeConflict when it changed since."""


class Events(Protocol):
    """Kubernetes events, for people who `kubectl describe`. Repeats are counted, not multiplied; never raises."""

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        """`regarding` is an object reference (kind, namespace, name, uid); `kind` is Normal or Warning.

        One with the same reason and `cause` is a repeat: it raises the event's count and replaces its message. So the
        cause of something that happened, with its own numbers, is its message; a trouble that lasts has one cause.
        """


class LedgerStore(Protocol):
    """Where the ledger outlives the agent."""

    def load(self) -> Iterable[Slot]:
        """All slots as last saved; nothing on a fresh boot."""

    def save(self, change: Change) -> None:
        """Write all of the change, or raise LedgerError having written none of it."""


@dataclass(frozen=True, slots=True)
class ObservedSandbox:
    """A host end of ours that the kernel holds, with the routes that lead to it and its permanent neighbours; `mtu` in
    bytes.
    """

    host_ifname: str
    routes: frozenset[Route] = field(default_factory=frozenset)
    neighbours: frozenset[Neighbour] = field(default_factory=frozenset)
    mtu: int = 0

    @property
    def addresses(self) -> frozenset[str]:
        """What they lead to (a /32 as a plain address)."""
        return frozenset(str(route.destination).removesuffix("/32") for route in self.routes)


@dataclass(frozen=True, slots=True)
class HostChange:
    """What others changed, as far as it is known: it may concern the `node`'s own part (table, switches, uplink,
    policy rules), or what leads to its `sandboxes` (routes, neighbours). `cause` says what and, where that can be
    known, by whom.
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


@dataclass(frozen=True, slots=True)
class PodEnd:
    """The pod's interface of a sandbox, by which its network namespace is known to be the one at `netns`."""

    netns: str
    ifname: str
    mac: str


class Datapath(Protocol):
    """The kernel: sandboxes and the node's own table."""

    async def attach(self, spec: SandboxSpec) -> SandboxLinks:
        """Wire one sandbox; a repeat for a sandbox wired alike is the same result. On error nothing is left."""

    async def detach(self, host_ifname: str, addresses: Collection[str]) -> None:
        """After this no packet reaches or leaves the addresses there; the link itself may go a moment later."""

    async def check(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Each difference between the kernel and what the sandbox should be, as words; empty when it is right."""

    async def mend(self, spec: SandboxSpec) -> tuple[str, ...]:
        """Put back what leads to a sandbox (routes and neighbour of the node's end) and was lost; returns it as words.

        Nothing is done where there is no such link, or where somebody turned it off. DatapathError when the kernel
        refuses: while the address that a route names as its source is away.
        """

    async def sandboxes(self) -> tuple[ObservedSandbox, ...]:
        """Every host end of ours, for comparing with the ledger."""

    async def occupancy(self, ends: Sequence[PodEnd]) -> tuple[Occupancy, ...]:
        """Of each sandbox, whether processes are in its network namespace: a walk over all processes of the node."""

    async def settle(self) -> None:
        """Wait until removals under way are done."""

    async def uplink(self, mac: str, primary: IPv4Address) -> Uplink:
        """The NIC's interface; DatapathError where none can be it. Of several the likeliest (`datapath.uplink`)."""

    async def apply_node(self, table: NodeTable) -> HostReport:
        """Make the node's table, sysctls and uplink right; returns what had drifted and what others do against it."""

    async def changed(self) -> HostChange:
        """Wait until somebody else changed something that may concern node or sandboxes; for one waiter at a time.

        Own changes are none, except that what `apply_node` puts right may be announced once. Not every change is
        heard of (nothing is before the first call): comparisons now and then remain necessary.
        """


class Observer(Protocol):
    """Hooks for measurements; called synchronously, must not block or raise."""

    def cni(self, verb: str, code: int, seconds: float) -> None:
        """A CNI request was answered; code 0 is success."""

    def stage(self, stage: str, seconds: float) -> None:
        """A part of an ADD or DEL: `queue`, `ledger`, `netlink`."""

    def azure(self, operation: str, code: str, seconds: float) -> None:
        """A call to Azure was answered; code is the HTTP status, Azure's error code, or `unreachable`."""

    def throttled(self, seconds: float) -> None:
        """Azure asked to wait this long."""

    def reconciled(self, result: str) -> None:
        """One pass of the reconciler ended: `unchanged`, `grew`, `shrank`, `waiting`, or an error's reason."""

    def repaired(self, kind: str) -> None:
        """A difference between ledger, kernel and NIC was put right."""

    def internal_error(self, activity: str) -> None:
        """An activity failed by a fault of azure-cni."""


@dataclass(frozen=True, slots=True)
class Record:
    """A DEL that found no agent; `name` is how its store knows it."""

    sandbox: Sandbox
    name: str


@dataclass(frozen=True, slots=True)
class Records:
    """What was found: records to carry out, and words about each that could not be read and was put aside."""

    pending: tuple[Record, ...] = ()
    bad: tuple[str, ...] = ()


class ReleasedRecords(Protocol):
    """The DELs that the binary wrote down when no agent answered."""

    def names(self) -> tuple[str, ...]:
        """The names of those that are there now, no more than a few tens of thousands. AzureCniError."""

    def read(self, names: Sequence[str]) -> Records:
        """Those of them that are still there."""

    def acknowledge(self, record: Record) -> None:
        """The sandbox is detached: forget the record. Never before that, or a crash would leak its address."""
