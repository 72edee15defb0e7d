"""A node that may not ask Azure has the controller ask: `Cloud` and `Nic` by orders in its own pool.

The same reconciler decides, by the same rules; only who speaks to Azure is another. An order is one compare-and-swap on
the pool, so that a late one of an agent that is gone cannot displace a newer one; its answer is a change of the pool.
Nobody knows whether an order without an answer was, or yet will be, carried out: it ends as silence of Azure does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Final, TypeVar

from azure_cni.api import orders, pool, reading
from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, NicView
from azure_cni.api.order_documents import order_document, read_answer
from azure_cni.api.orders import Identify, Order, ReadNic, ReadVNet, WriteNic
from azure_cni.errors import CloudError, CloudUnreachable, DecodeFailed, InternalFault, KubeConflict, KubeError
from azure_cni.node.ports import Claims, Pools

log = logging.getLogger(__name__)

R = TypeVar("R", NodeIdentity, VNetView, NicView)

READ_S: Final = 60.0
"""How long an answer may take where nothing is written: another controller may have to take over first."""
WRITE_S: Final = 720.0
"""The controller waits 600 s for Azure's operation, and reads before and after."""
LOOK_S: Final = 5.0
"""How often the pool is read while an answer is awaited: the watch may have begun anew, or not yet."""
RACES: Final = 8
"""How often an order is written anew because the pool changed meanwhile."""


class OrderPost:
    """Where orders of this node go out and answers come in. One order at a time: a newer one voids the one before."""

    def __init__(self, pools: Pools, *, read_s: float = READ_S, write_s: float = WRITE_S) -> None:
        self._pools = pools
        self._read_s = read_s
        self._write_s = write_s
        self._last = 0
        self._expected: asyncio.Future[Any] | None = None

    def see(self, body: Mapping[str, Any]) -> None:
        """The pool was read or changed: it may show the answer."""
        answer = reading.status_of(body).get("answer")
        if isinstance(answer, Mapping) and answer.get("id") == self._last:
            self._settle(answer)

    async def ask(self, order: Order, kind: type[R], *, what: str) -> R:
        """What came of the order. Raises the controller's error, or CloudUnreachable when there is no answer."""
        patience_s = self._write_s if isinstance(order, WriteNic) else self._read_s
        try:
            expected = await self._place(order, what=what)
        except KubeError as error:
            raise CloudUnreachable(f"cannot {what}: the order to the controller cannot be written: {error}") from error
        try:
            async with asyncio.timeout(patience_s):
                answer = await self._answer(expected)
        except TimeoutError as error:
            raise CloudUnreachable(
                f"cannot {what}: the controller has not carried out order {self._last} within {patience_s:g} s; see "
                "whether it runs: kubectl get pods -A -l app.kubernetes.io/component=controller",
                azure_code="NoController",
            ) from error
        if answer is None:
            raise CloudUnreachable(f"cannot {what}: this node has ordered something else meanwhile")
        return _result(answer, kind, what=what)

    async def _place(self, order: Order, *, what: str) -> asyncio.Future[Any]:
        """Write the order under the next number; a write carries the number of the request that allows it."""
        for _ in range(RACES):
            body = await self._pools.read()
            if body is None:
                raise CloudUnreachable(
                    f"cannot {what}: the controller is asked by way of the NodeIPPool, and it is gone"
                )
            number = max(self._last, orders.last_number(body)) + 1
            if isinstance(order, WriteNic):
                order = replace(order, permit=pool.view(body).request.number)
            self._settle(None)
            self._last, self._expected = number, asyncio.get_running_loop().create_future()
            expected = self._expected
            try:
                await self._pools.patch_status(body, {"order": order_document(number, order)}, guarded=True)
            except KubeConflict:
                continue
            log.info("order given", extra={"order": number, "verb": orders.verb(order)})
            return expected
        raise KubeConflict(f"cannot patch the NodeIPPool: it changed {RACES} times meanwhile")

    async def _answer(self, expected: asyncio.Future[Any]) -> Any:
        while not (await asyncio.wait({expected}, timeout=LOOK_S))[0]:
            await self._look()
        return expected.result()

    def _settle(self, answer: Any) -> None:
        if self._expected is not None and not self._expected.done():
            self._expected.set_result(answer)

    async def _look(self) -> None:
        try:
            body = await self._pools.read()
        except KubeError as error:
            log.info("cannot look for the answer", extra={"error": str(error)})
            return
        if body is not None:
            self.see(body)


class OrderedCloud:
    """Implements `azure_cni.node.ports.Cloud`."""

    def __init__(self, claims: Claims, post: OrderPost) -> None:
        self._claims = claims
        self._post = post

    async def identify(self) -> NodeIdentity:
        """The metadata service is asked from here, the resource manager by the controller."""
        claim = await self._claims.claim()
        return await self._post.ask(Identify(claim), NodeIdentity, what="identify this node")

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""
        order = ReadVNet(_claim(identity), identity.vnet_id)
        return await self._post.ask(order, VNetView, what="read the VNet")


class OrderedNic:
    """Implements `azure_cni.node.ports.Nic`.

    While Azure works on a NIC it shows all of it as updating. Controllers come and go, so what worked before is
    remembered here, as the adapter to Azure does where the agent has one.
    """

    conclusive: tuple[type[CloudError], ...] = ()
    """None: who answers need not be the only controller that tried. One before it may have asked Azure, and died."""

    def __init__(self, identity: NodeIdentity, post: OrderPost) -> None:
        self._identity = identity
        self._post = post
        self._known: dict[ConfigName, IPv4Address] = {}

    async def read(self) -> NicView:
        """One order."""
        order = ReadNic(_claim(self._identity), self._identity.nic_id)
        return self._seen(await self._post.ask(order, NicView, what="read the NIC"))

    async def write(self, seen: NicView, *, add: int = 0, remove: Collection[ConfigName] = ()) -> NicView:
        """One order, under the permit that the pool shows."""
        order = WriteNic(
            _claim(self._identity),
            self._identity.nic_id,
            seen.etag,
            add=add,
            remove=tuple(sorted(remove)),
            permit=0,
        )
        return self._seen(await self._post.ask(order, NicView, what="change the NIC"))

    def _seen(self, view: NicView) -> NicView:
        configs = tuple(
            replace(config, ready=config.ready or (config.name, config.address) in self._known.items())
            for config in view.configs
        )
        self._known = {config.name: config.address for config in configs if config.ready and config.address}
        return replace(view, configs=configs)


def _claim(identity: NodeIdentity) -> MachineClaim:
    return MachineClaim(identity.vm_id, identity.vm_resource_id, macs=(identity.mac,))


def _result(answer: object, kind: type[R], *, what: str) -> R:
    try:
        result = read_answer(answer)
    except DecodeFailed as error:
        raise CloudUnreachable(f"cannot {what}: {error}") from error
    if isinstance(result, CloudError | InternalFault):
        raise result
    if not isinstance(result, kind):
        raise CloudUnreachable(f"cannot {what}: the controller answers something else; is it of another version?")
    return result
