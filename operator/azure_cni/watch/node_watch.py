"""What an agent watches: the objects of its own node, and, if the administrator lets any namespace use them, the
annotations of namespaces.

Only plain event handlers: kopf then writes nothing, neither annotations nor finalizers, and a pool can go with its
node while no agent runs. The selectors work on the server's side, so what a node costs does not grow with the cluster.
Namespaces are all the cluster's. They are few and change seldom, and nothing is kept of those without an annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import kopf

from azure_cni.api import node_ip_pool
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.kube.lean_objects import pod_selector
from azure_cni.watch.kopf_runner import Post, quiet_settings


class Watcher(Protocol):
    """Receives what the watches show."""

    def pool_seen(self, pool: NodeIPPool) -> None:
        """The node's pool was listed, added or changed."""

    def pool_gone(self) -> None:
        """The node's pool was deleted."""

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        """A pod of this node was listed, added or changed."""

    def pod_gone(self, uid: str) -> None:
        """A pod of this node was deleted, or has ended."""

    def namespace_seen(self, body: Mapping[str, Any]) -> None:
        """A namespace was listed, added or changed."""

    def namespace_gone(self, name: str) -> None:
        """A namespace was deleted."""


def settings_of(node_name: str) -> kopf.OperatorSettings:
    """kopf, quiet and narrow."""
    settings = quiet_settings()
    settings.watching.field_selectors[node_ip_pool.GROUP, node_ip_pool.PLURAL] = f"metadata.name={node_name}"
    settings.watching.field_selectors["", "v1", "pods"] = pod_selector(node_name)
    return settings


def registry_for(watcher: Watcher, post: Post, *, namespaces: bool = False) -> kopf.OperatorRegistry:
    """The handlers; of `namespaces` only where their annotations count."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(node_ip_pool.GROUP, node_ip_pool.VERSION, node_ip_pool.PLURAL, registry=registry)
    async def on_pool(type: str, body: kopf.Body, **_: Any) -> None:  # noqa: A002  # kopf's names
        if type == "DELETED":
            post(watcher.pool_gone)
        else:
            post(watcher.pool_seen, node_ip_pool.parse(dict(body)))

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def on_pod(type: str, body: kopf.Body, uid: str, **_: Any) -> None:  # noqa: A002
        if type == "DELETED":
            post(watcher.pod_gone, uid)
        else:
            post(watcher.pod_seen, dict(body))

    if namespaces:
        _watch_namespaces(registry, watcher, post)
    return registry


def _watch_namespaces(registry: kopf.OperatorRegistry, watcher: Watcher, post: Post) -> None:
    @kopf.on.event("", "v1", "namespaces", registry=registry)
    async def on_namespace(type: str, body: kopf.Body, name: str, **_: Any) -> None:  # noqa: A002
        if type == "DELETED":
            post(watcher.namespace_gone, name)
        else:
            post(watcher.namespace_seen, dict(body))
