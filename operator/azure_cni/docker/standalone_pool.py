"""A node's pool where there is no Kubernetes: the ports to the API server, on a file and the log.

The reconciler keeps one object, its NodeIPPool: what it asks for, what it was granted, its conditions. Here that object
is in memory, and in a file under /run for the next process, which serves containers from it and the ledger while Azure
is silent. Nobody writes its spec: the settings say all. Events go to the log, and the pods of this node are none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from azure_cni.api import node_ip_pool
from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.api.pod_annotations import PodCondition
from azure_cni.api.reading import LONGEST_NUMBER, decimal, mapping, metadata_of
from azure_cni.docker.ports import StateFile
from azure_cni.errors import KubeConflict
from azure_cni.ipam.address_state import Sandbox
from azure_cni.model.text import NOT_JSON
from azure_cni.node.recorded_deletes import Record, Records

log = logging.getLogger(__name__)

_LEVELS: Final = {"Warning": logging.WARNING}


class StandalonePool:
    """Implements `azure_cni.node.ports.Pools`. `changed` is set whenever the status was changed by the node."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._body = _stored(file)
        self._version = decimal(self.shown.version.number, most=10**LONGEST_NUMBER)
        """Goes on where the process before this one ended: a lower number would count as an old write."""
        self.changed = asyncio.Event()

    @property
    def shown(self) -> NodeIPPool:
        """The object as it is now; one of which nothing is known before it was made."""
        return parse(self._body or {})

    async def read(self) -> NodeIPPool | None:
        """The object, or None when there is none."""
        return None if self._body is None else self.shown

    async def create(self, node: Mapping[str, Any]) -> NodeIPPool:
        """Make it, under the node's name; the one that exists is returned."""
        if self._body is None:
            metadata = metadata_of(node)
            self._replace({"metadata": {"name": metadata["name"], "uid": metadata["uid"], "generation": 1}, "spec": {}})
        return self.shown

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        """Merge the node's own fields. `guarded`: KubeConflict when somebody else wrote since `pool`."""
        if guarded and pool.version != self.shown.version:
            raise KubeConflict("cannot write the pool's status: it changed meanwhile")
        self._merge(status)
        self.changed.set()
        return self.shown

    def grant(self, status: Mapping[str, Any]) -> NodeIPPool:
        """Merge the fields of whoever grants."""
        self._merge(status)
        return self.shown

    def _merge(self, status: Mapping[str, Any]) -> None:
        body = self._body or {}
        merged = _merged(body.get("status"), status)
        if merged != body.get("status"):
            self._replace({**body, "status": merged})

    def _replace(self, body: dict[str, Any]) -> None:
        """In the file first. What was shown before is never changed."""
        self._version += 1
        body = {**body, "metadata": {**metadata_of(body), "resourceVersion": str(self._version)}}
        self._file.write(msgspec.json.encode(body))
        self._body = body


class StandaloneNode:
    """Implements `azure_cni.node.ports.NodeObject`: nobody schedules to this node, so its taints are for itself."""

    def __init__(self, name: str, *, uid: str) -> None:
        self._node: dict[str, Any] = {"metadata": {"name": name, "uid": uid}, "spec": {}}

    async def read_node(self) -> dict[str, Any]:
        """The object."""
        return self._node

    async def write_taints(self, node: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> None:
        """Keep them."""
        self._node = {**node, "spec": {"taints": [dict(taint) for taint in taints]}}


class LoggedEvents:
    """Implements `azure_cni.node.ports.Events`: the journal has what `kubectl describe` would show."""

    async def publish(
        self,
        regarding: Mapping[str, Any],
        *,
        kind: str,
        reason: str,
        message: str,
        cause: str = "",  # noqa: ARG002  # the port's
    ) -> None:
        """One line for each."""
        facts = {"about": regarding.get("kind", ""), "reason": reason, "what": message}
        log.log(_LEVELS.get(kind, logging.INFO), "event", extra=facts)


class NobodysPods:
    """Implements `azure_cni.node.ports.PodList` and `.PodConditions`: containers have no pods."""

    async def list(self) -> Sequence[Mapping[str, Any]]:
        """None."""
        return ()

    async def write(self, pod: Mapping[str, str], condition: PodCondition) -> None:
        """Nobody has it."""


class NoReleases:
    """Implements `azure_cni.node.recorded_deletes.ReleasedRecords`: Docker repeats what found no plugin."""

    def names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def read(self, names: Sequence[str]) -> Records:  # noqa: ARG002  # the port's
        """None."""
        return Records()

    def name_of(self, sandbox: Sandbox) -> str:
        """Of none."""
        return str(sandbox)

    def has(self, name: str) -> bool:  # noqa: ARG002  # the port's
        """Never."""
        return False

    def acknowledge(self, record: Record) -> None:
        """Nothing to forget."""


def _stored(file: StateFile) -> dict[str, Any] | None:
    """What the process before this one left. What cannot be read is made again: all of it is found out anyway."""
    content = file.read()
    if content is None:
        return None
    try:
        body = msgspec.json.decode(content, type=dict[str, Any])
    except NOT_JSON as error:
        log.warning("the pool's file cannot be read, and is made again", extra={"file": file.name, "error": str(error)})
        return None
    return body if node_ip_pool.parse(body).name else None


def _merged(target: object, patch: object) -> Any:
    """RFC 7386: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(mapping(target))
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
