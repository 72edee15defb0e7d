"""What the leading controller watches: all pools and all quotas, and nothing else.

Plain event handlers, as the agent's: kopf writes nothing. A standby watches nothing.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import kopf

from azure_cni.api import node_ip_pool, vnet_quota
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.watch.kopf_runner import Post, quiet_settings

CHUNK: Final = 100
"""Pools of one answer when kopf lists them: a pool with 250 addresses is some 20 KiB, and ten times that as objects."""


class ClusterWatcher(Protocol):
    """Receives what the watches show."""

    def pool_seen(self, pool: NodeIPPool) -> None:
        """A pool was listed, added or changed."""

    def pool_gone(self, name: str, uid: str) -> None:
        """A pool was deleted."""

    def quota_seen(self, quota: VNetQuota) -> None:
        """A quota was listed, added or changed."""

    def quota_gone(self, name: str) -> None:
        """A quota was deleted."""


def settings() -> kopf.OperatorSettings:
    """kopf, quiet, and with few bodies in memory at one time."""
    chosen = quiet_settings()
    chosen.watching.chunk_size = CHUNK
    return chosen


def registry_for(watcher: ClusterWatcher, post: Post) -> kopf.OperatorRegistry:
    """The handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(node_ip_pool.GROUP, node_ip_pool.VERSION, node_ip_pool.PLURAL, registry=registry)
    async def on_pool(type: str, body: kopf.Body, name: str, uid: str, **_: Any) -> None:  # noqa: A002  # kopf's names
        if type == "DELETED":
            post(watcher.pool_gone, name, uid)
        else:
            post(watcher.pool_seen, node_ip_pool.parse(dict(body)))

    @kopf.on.event(node_ip_pool.GROUP, node_ip_pool.VERSION, vnet_quota.PLURAL, registry=registry)
    async def on_quota(type: str, body: kopf.Body, name: str, **_: Any) -> None:  # noqa: A002
        if type == "DELETED":
            post(watcher.quota_gone, name)
        else:
            post(watcher.quota_seen, vnet_quota.parse(dict(body)))

    return registry
