"""The agent's end of the CNI socket: one HTTP request per verb, answered with a CNI result or a CNI error.

The path carries the protocol's version, so a binary of an older release goes on working with a newer agent. Each
failure becomes a CNI error with a message; a fault in our code is logged with its traceback and reported as code 999.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, assert_never

import msgspec
from aiohttp import web

from azure_cni.cni import wire
from azure_cni.cni.config import NetConf, directory_elsewhere
from azure_cni.cni.results import add_result
from azure_cni.cni.systems import LINUX, NodeSystem
from azure_cni.entrypoints.accepting import one_request
from azure_cni.entrypoints.cni_listener import BoundedRequests, RequestBounds
from azure_cni.entrypoints.netns_socket import PassedNamespaces
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.ipam.address_state import Sandbox
from azure_cni.node.pods.deferred_deletes import DeferredDeletes
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.ports import Observer

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode

MOST_SAID: Final = 64
"""Networks of which it is said that they name another directory: a node has a few."""


class CniServer:
    """Decodes requests, asks the use cases, encodes answers."""

    def __init__(
        self,
        *,
        sandboxes: Sandboxes,
        deferred_deletes: DeferredDeletes,
        observer: Observer,
        bounds: RequestBounds | None = None,
        system: NodeSystem = LINUX,
        run_dir: str = "",
    ) -> None:
        """`system`: that of the runtimes that ask. `run_dir`: where the binary leaves files for the agent; "" where
        requests may name any directory for them.
        """
        self._sandboxes = sandboxes
        self._deferred_deletes = deferred_deletes
        self._observer = observer
        self._system = system
        self.requests = BoundedRequests(bounds)
        """The connections of both sockets."""
        self.passed = PassedNamespaces(self.requests)
        """The namespaces that were passed on the second socket."""
        self.faults = Faults(observer.internal_error)
        self._run_dir = run_dir if system is LINUX else ""  # elsewhere one directory has many spellings
        self._said: set[str] = set()
        """Of configurations with another directory."""

    def application(self) -> web.Application:
        """The routes of protocol version 1."""
        app = web.Application(middlewares=[one_request, self.requests.without_body])
        for verb in wire.VERBS:
            app.router.add_post(f"/cni/v1/{verb}", self._handler(verb))
        return app

    def _handler(self, verb: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            started, code, status, body, container = perf_counter(), 0, 200, b"", ""
            try:
                body = await self.requests.body(request, verb, large=verb == "gc")
                with self.faults.guard(f"cni_{verb}"), self.passed.path_for(request) as netns:
                    asked = wire.decode(verb, body, system=self._system)
                    container = asked.holder.sandbox.container_id if isinstance(asked, wire.Add) else ""
                    reply = await self._answer(asked, netns)
            except AzureCniError as error:
                code = error.code
                status, reply = wire.error_body(error, wire.version_of(body))
                # A runtime asks for the status every few seconds, and the pool's conditions say what it is.
                level = logging.DEBUG if verb == "status" else logging.INFO
                log.log(level, "cni request refused", extra={"verb": verb, "code": code, "error": str(error)})
            self._observer.cni(verb, code, perf_counter() - started, container_id=container)
            return web.Response(body=_encode(reply), status=status, content_type="application/json")

        return handle

    async def _answer(self, request: wire.Request, netns: str) -> dict[str, Any]:
        """`netns` is where the namespace can be opened if not at the path that the request names, else ""."""
        match request:
            case wire.Add(holder, config, requested, beside):
                self._compare_directories(config)
                await self._deferred_deletes.finish_former_life(holder)
                wiring = await self._sandboxes.add(holder, netns=netns, wanted=requested, asked=beside)
                return add_result(config, wiring=wiring, netns=holder.netns)
            case wire.Delete(sandbox):
                await self._sandboxes.delete(sandbox)
            case wire.Check(holder, expected):
                await self._sandboxes.check(holder, expected=expected, netns=netns)
            case wire.Collect(network, valid):
                await self._collect(network, valid)
            case wire.Status():
                self._sandboxes.status()
            case _:
                assert_never(request)
        return {}

    def _compare_directories(self, config: NetConf) -> None:
        """Said once for each network that names another one: nothing fails by it before the agent is away."""
        elsewhere = directory_elsewhere(config, self._run_dir) if self._run_dir else ""
        if elsewhere and elsewhere not in self._said and len(self._said) < MOST_SAID:
            self._said.add(elsewhere)
            log.warning("a network configuration names another directory than the agent's", extra={"what": elsewhere})

    async def _collect(self, network: str, valid: frozenset[Sandbox]) -> None:
        freed = await self._sandboxes.collect(network, valid)
        if freed:
            facts = {"network": network, "containers": [one.container_id for one in freed]}
            log.warning("stale sandboxes collected", extra=facts)
