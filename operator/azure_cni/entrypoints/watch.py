"""kopf's part: the watches of this node's own objects, as calls into the use cases.

Only plain event handlers: kopf then writes nothing, neither annotations nor finalizers, and a pool can go with its
node while no agent runs. The selectors work on the server's side, so what a node costs does not grow with the cluster.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import kopf

from azure_cni.api import pool as pool_api
from azure_cni.kube import tls

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Watcher(Protocol):
    """Who wants to know."""

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """The node's pool was listed, added or changed."""

    def pool_gone(self) -> None:
        """The node's pool was deleted."""

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        """A pod of this node was listed, added or changed."""

    def pod_gone(self, uid: str) -> None:
        """A pod of this node was deleted."""


def settings_of(node_name: str) -> kopf.OperatorSettings:
    """kopf, quiet and narrow."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.field_selectors[pool_api.GROUP, pool_api.PLURAL] = f"metadata.name={node_name}"
    settings.watching.field_selectors["", "v1", "pods"] = f"spec.nodeName={node_name}"
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = 600
    settings.queueing.idle_timeout = 1.0
    return settings


@dataclass(frozen=True)
class ServiceAccountLogin(kopf.ConnectionInfo):
    """kopf's own way to connect, with our check of certificates."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """See `kube.tls`."""
        return tls.context(self.ca_path if isinstance(self.ca_path, str) else None)


def login(environ: Mapping[str, str] = os.environ) -> kopf.ConnectionInfo:
    """The service account, by address: with the node's own DNS the name `kubernetes.default.svc` means nothing."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    return ServiceAccountLogin(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(SERVICE_ACCOUNT / "ca.crt"),
        token=(SERVICE_ACCOUNT / "token").read_text().strip(),
        trust_env=False,
    )


def registry_for(watcher: Watcher, *, connect: Callable[[], kopf.ConnectionInfo] = login) -> kopf.OperatorRegistry:
    """The handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def log_in(**_: Any) -> kopf.ConnectionInfo:
        return connect()

    @kopf.on.event(pool_api.GROUP, pool_api.VERSION, pool_api.PLURAL, registry=registry)
    async def on_pool(type: str, body: kopf.Body, **_: Any) -> None:  # noqa: A002  # kopf's names
        if type == "DELETED":
            watcher.pool_gone()
        else:
            watcher.pool_seen(dict(body))

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def on_pod(type: str, body: kopf.Body, uid: str, **_: Any) -> None:  # noqa: A002
        if type == "DELETED":
            watcher.pod_gone(uid)
        else:
            watcher.pod_seen(dict(body))

    return registry
