"""A small API server: the rules that clients of a few kinds meet, over real HTTP.

What it keeps: bearer tokens; verbs that a token may not use (403); names that exist (409) or do not (404); the status
subresource, which changes nothing but status and which nothing else changes; merge patches with their content type;
resourceVersion as a compare-and-swap; lists, whole or in pages; validation of events (namespace), of a pool's
`max` and of the sum of a quota's grants; a Status for each error.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fakes.cluster import refuse_over_limit
from fakes.pools import merge_patch

TOKEN = "token-of-the-agent"


@dataclass(frozen=True)
class Resource:
    """A kind that the server knows."""

    kind: str
    namespaced: bool = False
    status_subresource: bool = True


RESOURCES = {
    ("", "nodes"): Resource("Node"),
    ("", "events"): Resource("Event", namespaced=True, status_subresource=False),
    ("azure-cni.io", "nodeippools"): Resource("NodeIPPool"),
    ("azure-cni.io", "vnetquotas"): Resource("VNetQuota"),
    ("coordination.k8s.io", "leases"): Resource("Lease", namespaced=True, status_subresource=False),
}


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass(frozen=True)
class Target:
    """What a request is about."""

    group: str
    plural: str
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> Resource:
        return RESOURCES[self.group, self.plural]

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.group, self.plural, self.namespace, self.name

    @property
    def label(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


class FakeKubeAPI:
    """The server's state, and what a test may do to it."""

    def __init__(self) -> None:
        self.tokens = {TOKEN}
        self.forbidden: set[tuple[str, str]] = set()
        """(verb, plural) that nobody may: `("patch", "nodeippools/status")`."""
        self.fail_next: int | None = None
        """HTTP status of the next answer, whatever is asked; then forgotten."""
        self.requests: list[tuple[str, str]] = []
        self.objects: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self._versions = itertools.count(1)

    def put(self, group: str, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object as an administrator would, status included."""
        meta = {"namespace": "", **body["metadata"]}
        target = Target(group, plural, meta["namespace"], meta["name"], "")
        stored = {"kind": target.resource.kind, **body, "metadata": {**body["metadata"], **self._new_meta()}}
        self.objects[target.key] = stored
        return stored

    def delete(self, group: str, plural: str, *, name: str, namespace: str = "") -> None:
        """Take an object away, as expiry or a person would."""
        del self.objects[group, plural, namespace, name]

    def all(self, plural: str) -> list[dict[str, Any]]:
        """Every object of a kind."""
        return [body for key, body in self.objects.items() if key[1] == plural]

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Answer on a port of the loopback; yields the URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        try:
            self._admit(request)
            target = _target(request.path)
            body = await request.json() if request.can_read_body else {}
            verbs = {"GET": "get" if target.name else "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
            verb = verbs[request.method]
            self._authorize(verb, target)
            _accept(verb, request.content_type)
            if verb == "list":
                return web.json_response(self._list(target, request.query))
            return web.json_response(getattr(self, f"_{verb}")(target, body), status=201 if verb == "create" else 200)
        except Refusal as refusal:
            status: dict[str, Any] = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": str(refusal),
            }
            status |= {"reason": refusal.reason, "code": refusal.code}
            return web.json_response(status, status=refusal.code)

    def _admit(self, request: web.Request) -> None:
        code, self.fail_next = self.fail_next, None
        if code is not None:
            raise Refusal(code, "InternalError", "told to fail")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refusal(401, "Unauthorized", "Unauthorized")

    def _authorize(self, verb: str, target: Target) -> None:
        what = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        if (verb, what) in self.forbidden:
            raise Refusal(
                403, "Forbidden", f'{target.label} "{target.name}" is forbidden: cannot {verb} resource {what}'
            )

    def _get(self, target: Target, _: dict[str, Any]) -> dict[str, Any]:
        if target.key not in self.objects:
            raise Refusal(404, "NotFound", f'{target.label} "{target.name}" not found')
        return self.objects[target.key]

    def _list(self, target: Target, query: Mapping[str, str]) -> dict[str, Any]:
        found = [body for key, body in self.objects.items() if key[:2] == target.key[:2]]
        if target.namespace:
            found = [body for body in found if body["metadata"].get("namespace") == target.namespace]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(found)
        meta = {"resourceVersion": str(next(self._versions))}
        if start + limit < len(found):
            meta["continue"] = str(start + limit)
        return {"kind": f"{target.resource.kind}List", "metadata": meta, "items": found[start : start + limit]}

    def _create(self, target: Target, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("metadata", {}).get("name", "")
        if not name:
            raise Refusal(422, "Invalid", "metadata.name: Required value: name or generateName is required")
        target = Target(target.group, target.plural, target.namespace, name, "")
        if target.key in self.objects:
            raise Refusal(409, "AlreadyExists", f'{target.label} "{name}" already exists')
        stored = {**body, "metadata": {**body["metadata"], **self._new_meta()}}
        if target.resource.status_subresource:
            stored.pop("status", None)
        _validate(target, stored)
        self.objects[target.key] = stored
        return stored

    def _patch(self, target: Target, patch: dict[str, Any]) -> dict[str, Any]:
        current = self._get(target, {})
        expected = patch.get("metadata", {}).get("resourceVersion")
        if expected is not None and expected != current["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", f'Operation cannot be fulfilled on {target.label} "{target.name}": modified')
        if target.subresource == "status":
            patch = {"status": patch.get("status", {})}
        elif target.resource.status_subresource:
            patch = {key: value for key, value in patch.items() if key != "status"}
        changed: dict[str, Any] = merge_patch(current, patch)
        _validate(target, changed)
        if changed != current:
            changed["metadata"]["resourceVersion"] = str(next(self._versions))
        if changed.get("spec") != current.get("spec"):
            changed["metadata"]["generation"] += 1
        self.objects[target.key] = changed
        return changed

    def _delete(self, target: Target, options: dict[str, Any]) -> dict[str, Any]:
        meta, wanted = self._get(target, {})["metadata"], options.get("preconditions", {})
        if differing := [key for key, value in wanted.items() if meta[key] != value]:
            raise Refusal(409, "Conflict", f"Precondition failed: {differing[0]} in precondition differs")
        del self.objects[target.key]
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _new_meta(self) -> dict[str, Any]:
        return {"uid": str(uuid.uuid4()), "resourceVersion": str(next(self._versions)), "generation": 1}


def _target(path: str) -> Target:
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, rest = "", parts[2:]
    else:
        group, rest = parts[1], parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    resource = RESOURCES.get((group, plural))
    misplaced = resource is not None and resource.namespaced != bool(namespace) and (name or namespace)
    if resource is None or misplaced or (subresource and not resource.status_subresource):
        raise Refusal(404, "NotFound", "404 page not found")
    return Target(group, plural, namespace, name, subresource)


def _accept(verb: str, content_type: str) -> None:
    if verb == "patch" and content_type != "application/merge-patch+json":
        raise Refusal(415, "UnsupportedMediaType", f"media type {content_type} is not for PATCH here")


def _validate(target: Target, body: dict[str, Any]) -> None:
    if target.plural == "events":
        about = body.get("involvedObject", {}).get("namespace") or "default"
        if about != target.namespace:
            raise Refusal(422, "Invalid", "involvedObject.namespace: Invalid value: does not match event.namespace")
    if target.plural == "nodeippools" and body.get("spec", {}).get("max", 1) > 250:
        raise Refusal(422, "Invalid", "spec.max: Invalid value: should be less than or equal to 250")
    if target.plural == "vnetquotas" and (words := refuse_over_limit(body)):
        raise Refusal(422, "Invalid", words)
