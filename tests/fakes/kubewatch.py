"""An API server as watches meet it: discovery, lists, streams of events, and what goes wrong with them.

Real HTTP on loopback. One collection per resource; each change has a version, and a watch begins after the one it asks
for. A test may refuse paths with a status, break or silence streams, and lose events (a change that no watch tells).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GROUPS: dict[str, list[tuple[str, str]]] = {
    "/api/v1": [("pods", "Pod"), ("events", "Event"), ("namespaces", "Namespace")],
    "/apis/azure-cni.io/v1alpha1": [("nodeippools", "NodeIPPool"), ("vnetquotas", "VNetQuota")],
    "/apis/apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition")],
}
PODS = "/api/v1/pods"
POOLS = "/apis/azure-cni.io/v1alpha1/nodeippools"
VERBS = ["get", "list", "watch", "create", "patch"]


@dataclass
class FakeWatchServer:
    """The collections, and the trouble that a test makes. `url` once it serves."""

    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and query of each request, lists and watches included."""
    refusals: dict[str, int] = field(default_factory=dict)
    """HTTP status by path; "" refuses everything."""
    silent: bool = False
    """Watches are accepted, and nothing is ever sent on them."""
    collections: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    _history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    _streams: set[asyncio.Queue[bytes | None]] = field(default_factory=set)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _version: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def put(self, path: str, name: str, *, told: bool = True, **body: Any) -> None:
        """Make or change an object; `told=False` is a change that no watch tells."""
        objects = self.collections.setdefault(path, {})
        kind = "MODIFIED" if name in objects else "ADDED"
        meta = {"name": name, "uid": f"uid-{name}", "namespace": "default", **body.pop("metadata", {})}
        await self._change(path, kind, {"metadata": meta, **body}, told=told)

    async def drop(self, path: str, name: str, *, told: bool = True) -> None:
        """Delete an object."""
        await self._change(path, "DELETED", self.collections[path][name], told=told)

    async def raise_error(self, code: int) -> None:
        """An ERROR on every open watch."""
        status = {"kind": "Status", "code": code, "message": "told to fail"}
        await self._send({"type": "ERROR", "object": status})

    async def hang_up(self) -> None:
        """End every open watch, as the server does at their timeout."""
        for stream in list(self._streams):
            await stream.put(None)

    def asked(self, path: str, *, watch: bool) -> int:
        """How often a path was listed or watched."""
        return sum(1 for seen, query in self.requests if seen == path and ("watch" in query) is watch)

    @property
    def watching(self) -> int:
        """Open watches."""
        return len(self._streams)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self.url
        finally:
            await self.hang_up()
            await runner.cleanup()

    async def _change(self, path: str, kind: str, body: dict[str, Any], *, told: bool) -> None:
        self._version = next(self._versions)
        body["metadata"]["resourceVersion"] = str(self._version)
        objects = self.collections.setdefault(path, {})
        if kind == "DELETED":
            del objects[body["metadata"]["name"]]
        else:
            objects[body["metadata"]["name"]] = body
        if told:
            self._history.append((self._version, path, kind, body))
            await self._send({"type": kind, "object": body}, path=path)

    async def _send(self, event: dict[str, Any], *, path: str = "") -> None:
        for stream in list(self._streams):
            if not path or stream.path == path:  # type: ignore[attr-defined]
                await stream.put(json.dumps(event).encode() + b"\n")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests.append((path, dict(request.query)))
        status = self.refusals.get("", 0) or self.refusals.get(path, 0)
        if status:
            return web.json_response({"kind": "Status", "code": status, "message": "told to refuse"}, status=status)
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            groups = [_group(prefix) for prefix in GROUPS if prefix.startswith("/apis/")]
            return web.json_response({"groups": groups})
        if path in GROUPS:
            return web.json_response({"resources": [_resource(*names) for names in GROUPS[path]]})
        if "watch" in request.query:
            return await self._stream(request)
        items = list(self.collections.get(path, {}).values())
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self._version)}})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        stream.path = request.path  # type: ignore[attr-defined]
        since = int(request.query.get("resourceVersion", "0"))
        for version, path, kind, body in self._history:
            if path == request.path and version > since:
                await stream.put(json.dumps({"type": kind, "object": body}).encode() + b"\n")
        self._streams.add(stream)
        try:
            while (line := await stream.get()) is not None:
                if not self.silent:
                    await response.write(line)
        finally:
            self._streams.discard(stream)
        return response


def _group(prefix: str) -> dict[str, Any]:
    _, _, name, version = prefix.split("/")
    known = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [known], "preferredVersion": known}


def _resource(plural: str, kind: str) -> dict[str, Any]:
    return {"name": plural, "kind": kind, "singularName": kind.lower(), "namespaced": kind == "Pod", "verbs": VERBS}
