"""`Cloud` and `Nic` for a node without access to Azure: the controller executes NIC operations from the node's own
pool.

The reconciler and its rules are the same; only the caller of Azure differs. Writing an operation is one
compare-and-swap on the pool, so a late operation of an earlier agent cannot replace a newer one. Its result is a change
of the pool. An operation without a result may have been executed, or may be later, so it fails as a silent Azure does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import msgspec

from azure_cni.api import nic_operation, reading
from azure_cni.api.nic_operation import (
    Challenge,
    Identify,
    NicOperation,
    OperationResult,
    ReadNic,
    ReadVNet,
    SetSecurityGroups,
    WriteNic,
)
from azure_cni.api.nic_operation_codec import operation_document
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.operation_result_codec import read_result
from azure_cni.errors import (
    CloudError,
    CloudUnreachable,
    DecodeFailed,
    InternalFault,
    KubeConflict,
    KubeError,
    NotAttested,
    RequestRefused,
)
from azure_cni.model.identity import PRIMARY_NIC, IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView, StaticConfiguration, SubnetID
from azure_cni.model.text import addresses
from azure_cni.node.ports import Pools

log = logging.getLogger(__name__)

R = TypeVar("R", NodeIdentity, VNetView, NicView)

READ_S: Final = 60.0
"""How long the result of a read may take: another controller may have to take over first."""
WRITE_S: Final = 720.0
"""The controller waits 600 s for Azure's operation, and reads before and after."""
LOOK_S: Final = 5.0
"""How often the pool is read while a result is awaited: the watch may have started again, or not yet."""
RACES: Final = 8
"""How often an operation is written again because the pool changed meanwhile."""


Attest: TypeAlias = Callable[[str], Awaitable[str]]
"""Returns Azure's signed statement of which VM this is, with a nonce in it (`Claims.document`)."""


class Claims(Protocol):
    """What this machine can say of itself without any permission in Azure."""

    async def claim(self) -> IdentityClaim:
        """CloudError when the metadata service does not answer."""

    async def document(self, nonce: str) -> str:
        """Azure's signed statement of which VM this is, with that nonce in it, as base64. CloudError as above."""


class OperationClient:
    """Sends this node's NIC operations and receives their results. One at a time: a newer one replaces the one before.

    When the controller first requires proof of which VM this is, `attest` gives it, and the operation is sent again.
    """

    def __init__(
        self, pools: Pools, *, attest: Attest | None = None, read_s: float = READ_S, write_s: float = WRITE_S
    ) -> None:
        self._pools = pools
        self._attest = attest
        self._read_s = read_s
        self._write_s = write_s
        self._last = 0
        self._expected: asyncio.Future[Any] | None = None

    def see(self, pool: NodeIPPool) -> None:
        """The pool was read or changed: it may show the result."""
        result = pool.status.get("nicOperationResult")
        if isinstance(result, Mapping) and result.get("id") == self._last:
            self._settle(result)

    async def request(self, operation: NicOperation, kind: type[R], *, what: str) -> R:
        """The result of the operation. Raises the controller's error, or CloudUnreachable when there is no result."""
        result = await self._exchange(operation, what=what)
        if isinstance(result, Challenge):
            identity = await self._prove(operation, result, what=what)
            result = identity if isinstance(operation, Identify) else await self._exchange(operation, what=what)
        if isinstance(result, Challenge):
            raise NotAttested(f"cannot {what}: {result.why}")
        if not isinstance(result, kind):
            raise CloudUnreachable(
                f"cannot {what}: the controller's result is of another kind; is the controller of another version?"
            )
        return result

    async def _prove(self, operation: NicOperation, challenge: Challenge, *, what: str) -> OperationResult:
        """Identify this machine by the document that the challenge wants."""
        if self._attest is None:
            raise NotAttested(f"cannot {what}: {challenge.why}")
        log.info("the controller wants to know which VM this is", extra={"why": challenge.why})
        document = await self._attest(challenge.nonce)
        return await self._exchange(Identify(operation.claim, document), what=what)

    async def _exchange(self, operation: NicOperation, *, what: str) -> OperationResult:
        """One operation and its result."""
        patience_s = self._write_s if isinstance(operation, WriteNic | SetSecurityGroups) else self._read_s
        try:
            expected = await self._place(operation, what=what)
        except KubeError as error:
            raise CloudUnreachable(f"cannot {what}: the NIC operation cannot be written: {error}") from error
        try:
            async with asyncio.timeout(patience_s):
                document = await self._awaited(expected)
        except TimeoutError as error:
            raise CloudUnreachable(
                f"cannot {what}: the controller has not executed NIC operation {self._last} within {patience_s:g} s; "
                "see whether it runs: kubectl get pods -A -l app.kubernetes.io/component=controller",
                azure_code="NoController",
            ) from error
        if document is None:
            raise CloudUnreachable(f"cannot {what}: this node has written a newer NIC operation in the meantime")
        return _result(document, what=what)

    async def _place(self, operation: NicOperation, *, what: str) -> asyncio.Future[Any]:
        """Write the operation under the next number; a write of the NIC names the grant that allows it."""
        for _ in range(RACES):
            pool = await self._pools.read()
            if pool is None:
                raise CloudUnreachable(
                    f"cannot {what}: requests to the controller go through the NodeIPPool, and it is gone"
                )
            number = max(self._last, nic_operation.last_number(pool)) + 1
            if isinstance(operation, WriteNic | SetSecurityGroups):
                operation = replace(operation, grant_number=pool.view.request.number)
            self._settle(None)
            self._last, self._expected = number, asyncio.get_running_loop().create_future()
            expected = self._expected
            document = operation_document(number, operation)
            try:
                written = await self._pools.patch_status(pool, {"nicOperation": document}, guarded=True)
            except KubeConflict:
                continue
            _insist_on_all(document, written, what=what)
            log.info("NIC operation sent", extra={"operation": number, "kind": nic_operation.kind(operation)})
            return expected
        raise KubeConflict(f"cannot patch the NodeIPPool: it changed {RACES} times meanwhile")

    async def _awaited(self, expected: asyncio.Future[Any]) -> Any:
        while not (await asyncio.wait({expected}, timeout=LOOK_S))[0]:
            await self._look()
        return expected.result()

    def _settle(self, result: Any) -> None:
        if self._expected is not None and not self._expected.done():
            self._expected.set_result(result)

    async def _look(self) -> None:
        try:
            pool = await self._pools.read()
        except KubeError as error:
            log.info("cannot look for the result of a NIC operation", extra={"error": str(error)})
            return
        if pool is not None:
            self.see(pool)


class DelegatedCloud:
    """Implements `azure_cni.node.azure_ports.Cloud`."""

    def __init__(self, claims: Claims, post: OperationClient) -> None:
        self._claims = claims
        self._post = post

    async def identify(self, pod_subnet: SubnetID = PRIMARY_NIC) -> NodeIdentity:
        """The agent reads the metadata service, the controller the resource manager."""
        claim = replace(await self._claims.claim(), pod_subnet=pod_subnet)
        return await self._post.request(Identify(claim), NodeIdentity, what="identify this node")

    async def other_subnets(self) -> None:
        """The controller says nothing of NICs that no operation names."""

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""
        operation = ReadVNet(_claim(identity), identity.vnet_id)
        return await self._post.request(operation, VNetView, what="read the VNet")


class DelegatedNic:
    """Implements `azure_cni.node.azure_ports.Nic`.

    While Azure works on a NIC it shows all of it as updating. Controllers come and go, so what worked before is
    remembered here, as the adapter to Azure does where the agent has one.
    """

    conclusive: tuple[type[CloudError], ...] = ()
    """None: another controller may have called Azure for the same operation, and died before it wrote the result."""
    recovers = False

    def __init__(self, identity: NodeIdentity, post: OperationClient) -> None:
        self._identity = identity
        self._post = post
        self.takes_blocks = "/virtualmachinescalesets/" not in identity.nic_id.lower()
        """As the controller's own adapters: it is no NIC of an instance of a Uniform scale set."""
        self._working: Mapping[ConfigName, IPv4Address | IPv6Network] = {}

    async def read(self) -> NicView:
        """One operation."""
        operation = ReadNic(_claim(self._identity), self._identity.nic_id)
        return self._with_working(await self._post.request(operation, NicView, what="read the NIC"))

    async def write(
        self,
        observed: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        """One operation, under the grant that the pool shows."""
        operation = WriteNic(
            _claim(self._identity),
            self._identity.nic_id,
            observed.etag,
            add=add,
            remove=tuple(sorted(remove)),
            grant_number=0,
            attach=tuple(attach),
            size=size,
            ipv6=ipv6,
        )
        return self._with_working(await self._post.request(operation, NicView, what="change the NIC"))

    async def recover(self, observed: NicView, configs: Sequence[StaticConfiguration]) -> NicView:
        """Refused: a controller knows nothing of which addresses a NIC had."""
        raise RequestRefused(
            f"cannot take {addresses(len(configs))} back for {observed.nic_id}: with nicWriter: controller nobody does"
        )

    async def set_security_groups(self, observed: NicView, groups: Sequence[str]) -> NicView:
        """As `write`; the controller compares them with the pool's spec."""
        claim, nic_id = _claim(self._identity), self._identity.nic_id
        operation = SetSecurityGroups(claim, nic_id, observed.etag, tuple(groups), grant_number=0)
        return self._with_working(await self._post.request(operation, NicView, what="change the NIC"))

    def _with_working(self, view: NicView) -> NicView:
        after = view.with_working(self._working)
        self._working = after.working
        return after


def _claim(identity: NodeIdentity) -> IdentityClaim:
    node_nic = identity.node_nic
    if node_nic is None:
        return IdentityClaim(identity.vm_id, identity.vm_resource_id, macs=(identity.mac,))
    macs = (node_nic.mac, identity.mac)
    return IdentityClaim(identity.vm_id, identity.vm_resource_id, macs, identity.subnet_id)


def _insist_on_all(document: Mapping[str, Any], written: NodeIPPool, *, what: str) -> None:
    """CloudUnreachable where the API server has kept less than all of the operation: it would say something else."""
    found = reading.mapping(written.status.get("nicOperation"))
    sent, kept = (msgspec.json.decode(msgspec.json.encode(it)) for it in (document, found))
    dropped = sorted(name for name, value in sent.items() if kept.get(name) != value)
    if dropped:
        raise CloudUnreachable(
            f"cannot {what}: the API server does not keep {', '.join(dropped)} of the NIC operation, so the cluster's "
            "definition of NodeIPPool is of another version than this agent; apply the chart's crds",
            azure_code="OperationNotKept",
        )


def _result(document: object, *, what: str) -> OperationResult:
    try:
        result = read_result(document)
    except DecodeFailed as error:
        raise CloudUnreachable(f"cannot {what}: {error}") from error
    if isinstance(result, CloudError | InternalFault):
        raise result
    return result
