"""The two objects of the Kubernetes API that a node touches, in memory: its NodeIPPool and its Node."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.errors import KubeConflict, KubeError, KubeNotFound, KubeUnreachable

TYPE_META = {"apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool"}


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: maps are merged, None removes, everything else replaces."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


class FakePools:
    """Implements `azure_cni.node.ports.Pools` and `.Node`.

    Every change counts the resourceVersion up, and one that changes nothing does not, as the API server does.
    `fail_next` is raised by the next call, then forgotten. Callers get copies: what they do to them stays theirs.
    """

    def __init__(self, node: str = "vm1", *, fail_next: KubeError | None = None) -> None:
        self.fail_next = fail_next
        self.silent = False
        """Nothing answers until this is False again."""
        self.node: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node, "uid": f"uid-of-{node}", "resourceVersion": "1"},
        }
        self.pool: dict[str, Any] | None = None
        self.patches: list[dict[str, Any]] = []
        """Each status patch as it came."""
        self._versions = itertools.count(2)

    async def read_node(self) -> dict[str, Any]:
        self._fail()
        return copy.deepcopy(self.node)

    async def write_taints(self, node: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> None:
        self._fail()
        if node["metadata"]["resourceVersion"] != self.node["metadata"]["resourceVersion"]:
            raise KubeConflict(f'cannot patch nodes "{self.node["metadata"]["name"]}": it was modified')
        self.taint(*taints)

    async def read(self) -> NodeIPPool | None:
        self._fail()
        return None if self.pool is None else self.shown()

    async def create(self, node: Mapping[str, Any]) -> NodeIPPool:
        self._fail()
        if self.pool is None:
            meta = node["metadata"]
            owner = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
            version = str(next(self._versions))
            self.pool = {
                **TYPE_META,
                "metadata": {
                    "name": meta["name"],
                    "uid": f"pool-{version}",
                    "resourceVersion": version,
                    "generation": 1,
                    "ownerReferences": [owner],
                },
                "spec": {},
            }
        return self.shown()

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        self._fail()
        if self.pool is None or self.pool["metadata"]["name"] != pool.name:
            raise KubeNotFound(f'cannot patch nodeippools "{pool.name}": not found')
        if guarded and pool.version.number != self.pool["metadata"]["resourceVersion"]:
            raise KubeConflict(f'cannot patch nodeippools "{pool.name}": it was modified')
        self.patches.append(copy.deepcopy(dict(status)))
        self._change({"status": status})
        return self.shown()

    def shown(self) -> NodeIPPool:
        """As a watch shows it now; one of which nothing is known, where there is none."""
        return parse(copy.deepcopy(self.pool or {}))

    # What a test may do to it.

    def taint(self, *taints: Mapping[str, Any]) -> None:
        """A person makes these the Node's taints."""
        changed = merge_patch(self.node, {"spec": {"taints": list(taints) or None}})
        if changed != self.node:
            changed["metadata"]["resourceVersion"] = str(next(self._versions))
        self.node = changed

    def edit_spec(self, **fields: Any) -> None:
        """A person edits the pool; None removes a field."""
        assert self.pool is not None
        before = self.pool.get("spec")
        self._change({"spec": fields})
        if self.pool.get("spec") != before:
            self.pool["metadata"]["generation"] += 1

    def annotate(self, **annotations: str) -> None:
        """A person annotates the pool, which does not raise its generation."""
        assert self.pool is not None
        self._change({"metadata": {"annotations": annotations}})

    def _change(self, patch: Mapping[str, Any]) -> None:
        changed = merge_patch(self.pool, patch)
        if changed != self.pool:  # versions share nothing: who was shown one may keep it
            changed = copy.deepcopy(changed)
            changed["metadata"]["resourceVersion"] = str(next(self._versions))
        self.pool = changed

    def _fail(self) -> None:
        if self.silent:
            raise KubeUnreachable("cannot reach the API server: no answer")
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
