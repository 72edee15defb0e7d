"""The server: its objects, its verbs, and the failures that a test causes."""

from __future__ import annotations

import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from fakes.kubeapi.resources import Target, discovery, selected, target_of
from fakes.kubeapi.rules import STRATEGIC, Refusal, require_content_type, validate
from fakes.kubeapi.watches import Body, Change, Watches
from fakes.pools import merge_patch
from fakes.serving import serve

TOKEN = "token-of-the-agent"


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, str]


class FakeKubeAPI:
    """The server. Collections are named by their paths (`fakes.kubeapi.PODS`); `url` is known once it serves."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens = {TOKEN}
        """Those that it knows; "" lets in whoever sends none."""
        self.forbidden: set[tuple[str, str]] = set()
        """(verb, plural) that nobody may: `("patch", "nodeippools/status")`."""
        self.refusals: dict[str, int] = {}
        """HTTP status by path, "" for all of them: while the entry is there."""
        self.fail_next: int | None = None
        """HTTP status of the next answer, whatever is asked; then forgotten."""
        self.requests: list[Request] = []
        self.watches = Watches()
        self._objects: dict[Target, Body] = {}
        self._version = 0

    # What an administrator, the garbage collector or the network does.

    def put(self, collection: str, name: str, *, namespace: str = "default", **body: Any) -> Body:
        """Create or replace an object, status included; a replaced one keeps its UID. Nothing is validated."""
        target = _collection(collection).named(name, namespace)
        known = self._objects.get(target)
        meta = {"uid": known["metadata"]["uid"] if known else str(uuid.uuid4()), **body.pop("metadata", {})}
        generation = known["metadata"]["generation"] + 1 if known else 1
        return self._store(target, {**body, "metadata": meta}, generation=generation)

    def delete(self, collection: str, name: str, *, namespace: str = "default") -> None:
        """Take an object away, as expiry or a person would."""
        self._remove(_collection(collection).named(name, namespace))

    def all(self, collection: str) -> list[Body]:
        """Every object of a collection."""
        return list(self._found(_collection(collection), ""))

    def raise_error(self, code: int) -> None:
        """An ERROR on every open watch."""
        for watch in self.watches.open:
            watch.send("ERROR", {"kind": "Status", "code": code, "message": "made to fail"})

    def hang_up(self) -> None:
        """End every open watch, as the server does at their timeout."""
        for watch in self.watches.open:
            watch.end()

    def asked(self, path: str, *, watch: bool) -> int:
        """How often a path was listed or watched."""
        return sum(1 for request in self.requests if request.path == path and ("watch" in request.query) is watch)

    @contextlib.asynccontextmanager
    async def serve(self, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Answer on a port of the loopback; yields the URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with serve(app, tls=tls) as port:
            self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            try:
                yield self.url
            finally:
                self.hang_up()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(Request(request.method, request.path, dict(request.query)))
        try:
            self._admit(request)
            if document := discovery(request.path):
                return web.json_response(document)
            return await self._carry_out(request)
        except Refusal as refusal:
            return web.json_response(refusal.status(), status=refusal.code)

    def _admit(self, request: web.Request) -> None:
        code, self.fail_next = self.fail_next, None
        code = code or self.refusals.get("") or self.refusals.get(request.path)
        if code:
            raise Refusal(code, "InternalError", "made to fail")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refusal(401, "Unauthorized", "Unauthorized")

    async def _carry_out(self, request: web.Request) -> web.StreamResponse:
        target = target_of(request.path)
        if target is None:
            raise Refusal(404, "NotFound", "404 page not found")
        verb = _verb(request, target)
        self._authorize(verb, target)
        require_content_type(verb, request.content_type)
        query = request.query
        if verb == "watch":
            return await self.watches.serve(request, target, self._found(target, query.get("fieldSelector", "")))
        if verb == "list":
            return web.json_response(self._list(target, query))
        body = await request.json() if request.can_read_body else {}
        if verb == "patch" and request.content_type == STRATEGIC:
            body = self._strategic(target, body)
        return web.json_response(getattr(self, f"_{verb}")(target, body), status=201 if verb == "create" else 200)

    def _strategic(self, target: Target, patch: Body) -> Body:
        """The merge patch of the same effect: conditions of other types stay."""
        current = self._get(target, {})
        if (uid := patch.get("metadata", {}).get("uid", current["metadata"]["uid"])) != current["metadata"]["uid"]:
            raise Refusal(
                422, "Invalid", f'{target} is invalid: metadata.uid: Invalid value: "{uid}": field is immutable'
            )
        conditions = {it["type"]: it for it in current.get("status", {}).get("conditions", [])}
        conditions |= {it["type"]: it for it in patch.get("status", {}).get("conditions", [])}
        return {**patch, "status": {**patch.get("status", {}), "conditions": list(conditions.values())}}

    def _authorize(self, verb: str, target: Target) -> None:
        plural = target.resource.plural
        what = f"{plural}/{target.subresource}" if target.subresource else plural
        if (verb, what) in self.forbidden:
            raise Refusal(403, "Forbidden", f"{target} is forbidden: cannot {verb} resource {what}")

    def _get(self, target: Target, _: Body) -> Body:
        stored = self._objects.get(target.named(target.name, target.namespace))
        if stored is None:
            raise Refusal(404, "NotFound", f"{target} not found")
        return stored

    def _list(self, target: Target, query: Mapping[str, str]) -> Body:
        found = list(self._found(target, query.get("fieldSelector", "")))
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(found)
        meta = {"resourceVersion": str(self._version)}
        if start + limit < len(found):
            meta["continue"] = str(start + limit)
        kind = {**target.resource.type_meta, "kind": f"{target.resource.kind}List"}
        return {**kind, "metadata": meta, "items": found[start : start + limit]}

    def _create(self, target: Target, body: Body) -> Body:
        name = body.get("metadata", {}).get("name", "")
        if not name:
            raise Refusal(422, "Invalid", "metadata.name: Required value: name or generateName is required")
        target = target.named(name, target.namespace)
        if target in self._objects:
            raise Refusal(409, "AlreadyExists", f"{target} already exists")
        new = {**body, "metadata": {**body["metadata"], "uid": str(uuid.uuid4())}}
        if target.resource.status_subresource:
            new.pop("status", None)
        validate(target, new)
        return self._store(target, new, generation=1)

    def _patch(self, target: Target, patch: Body) -> Body:
        current = self._get(target, {})
        expected = patch.get("metadata", {}).get("resourceVersion")
        if expected is not None and expected != current["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", f"Operation cannot be fulfilled on {target}: modified")
        if target.subresource == "status":
            patch = {"status": patch.get("status", {})}
        elif target.resource.status_subresource:
            patch = {key: value for key, value in patch.items() if key != "status"}
        changed: Body = merge_patch(current, patch)
        validate(target, changed)
        if changed == current:
            return current
        generation = current["metadata"]["generation"] + (changed.get("spec") != current.get("spec"))
        return self._store(target.named(target.name, target.namespace), changed, generation=generation)

    def _delete(self, target: Target, options: Body) -> Body:
        meta, wanted = self._get(target, {})["metadata"], options.get("preconditions", {})
        if differing := [key for key, value in wanted.items() if meta[key] != value]:
            raise Refusal(409, "Conflict", f"Precondition failed: {differing[0]} in precondition differs")
        self._remove(target)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _found(self, target: Target, selector: str) -> Iterator[Body]:
        return (body for at, body in self._objects.items() if target.holds(at) and selected(selector, body))

    def _store(self, target: Target, body: Body, *, generation: int) -> Body:
        self._version += 1
        where = {"namespace": target.namespace} if target.resource.namespaced else {}
        own = {"name": target.name, "generation": generation, "resourceVersion": str(self._version)}
        stored = {**target.resource.type_meta, **body, "metadata": {**body["metadata"], **where, **own}}
        before, self._objects[target] = self._objects.get(target), stored
        self.watches.notify(Change(self._version, target, before, stored))
        return stored

    def _remove(self, target: Target) -> None:
        self._version += 1
        self.watches.notify(Change(self._version, target, self._objects.pop(target), None))


def _collection(path: str) -> Target:
    target = target_of(path)
    assert target is not None, path
    return target


def _verb(request: web.Request, target: Target) -> str:
    if request.method == "GET":
        return "get" if target.name else "watch" if "watch" in request.query else "list"
    return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[request.method]
