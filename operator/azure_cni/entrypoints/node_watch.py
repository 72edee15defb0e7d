"""What an agent watches: the objects of its own node, and nothing else.

Only plain event handlers: kopf then writes nothing, neither annotations nor finalizers, and a pool can go with its
node while no agent runs. The selectors work on the server's side, so what a node costs does not grow with the cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import kopf

from azure_cni.api import pool as pool_api
from azure_cni.entrypoints.watch import Post, quiet_settings
from azure_cni.kube.lean_pods import selector


class Watcher(Protocol):
    """Who wants to know."""

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """The node's pool was listed, added or changed."""

    def pool_gone(self) -> None:
        """The node's pool was deleted."""

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        """A pod of this node was listed, added or changed."""

    def pod_gone(self, uid: str) -> None:
        """A pod of this node was deleted, or has ended."""


def settings_of(node_name: str) -> kopf.OperatorSettings:
    """kopf, quiet and narrow."""
    settings = quiet_settings()
    settings.watching.field_selectors[pool_api.GROUP, pool_api.PLURAL] = f"metadata.name={node_name}"
    settings.watching.field_selectors["", "v1", "pods"] = selector(node_name)
    return settings


def registry_for(watcher: Watcher, post: Post) -> kopf.OperatorRegistry:
    """The handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(pool_api.GROUP, pool_api.VERSION, pool_api.PLURAL, registry=registry)
    async def on_pool(type: str, body: kopf.Body, **_: Any) -> None:  # noqa: A002  # kopf's names
        if type == "DELETED":
            post(watcher.pool_gone)
        else:
            post(watcher.pool_seen, dict(body))

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def on_pod(type: str, body: kopf.Body, uid: str, **_: Any) -> None:  # noqa: A002
        if type == "DELETED":
            post(watcher.pod_gone, uid)
        else:
            post(watcher.pod_seen, dict(body))

    return registry
