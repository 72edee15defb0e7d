"""A cluster as the command line sees it: objects by path, and what commands in pods print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from azure_cni.api.node_ip_pool import PAUSE_WRITER
from azure_cni.errors import KubeConflict, KubeDenied, KubeError, KubeNotFound

NAMESPACE_DEPTH = 4


class FakeClusterAccess:
    """`objects` maps a path to an object, or a collection's path to a list of them.

    `denied` are the paths that this person may not read ("PATCH PATH": not change), `user` is their name and `now` the
    time, `logs` a pod's log by its name (NAME:previous for the one before), `printed` what a command in a pod prints,
    by the pod's name, or the error of running it. Label and field selectors on a pod's labels, on its node and on an
    event's object are obeyed.
    """

    def __init__(self, objects: Mapping[str, Any] | None = None, *, namespace: str = "default") -> None:
        self.namespace, self.system_namespace = namespace, "kube-system"
        self.objects: dict[str, Any] = dict(objects or {})
        self.user, self.now = "jane", "2026-11-28T06:19:26Z"
        self.denied: set[str] = set()
        self.printed: dict[str, bytes | KubeError] = {}
        self.logs: dict[str, str] = {}
        self.ran: list[tuple[str, str, tuple[str, ...]]] = []

    def read_object(self, path: str) -> Mapping[str, Any]:
        """From the collection that has it."""
        self._admit(path)
        collection, _, name = path.rpartition("/")
        namespace = _namespace_in(collection)
        plural = collection.rpartition("/")[2]
        for found in self.objects.get(f"/api/v1/{plural}", self.objects.get(collection, [])):
            meta = found["metadata"]
            if meta["name"] == name and meta.get("namespace", "") == namespace:
                return dict(found)
        raise KubeNotFound(f'cannot read {path}: "{name}" not found')

    def list_objects(
        self, path: str, keep: Callable[[Mapping[str, Any]], Any] = dict, /, **query: str
    ) -> Sequence[Any]:
        """Those that the selectors leave."""
        self._admit(path)
        namespace = _namespace_in(path)
        everywhere = path.replace(f"/namespaces/{namespace}", "") if namespace else path
        if everywhere not in self.objects:
            raise KubeNotFound(f"cannot read {path}: the server could not find the requested resource")
        return [
            keep(one)
            for one in self.objects[everywhere]
            if (not namespace or one["metadata"]["namespace"] == namespace) and _selected(one, query)
        ]

    def patch_object(self, path: str, patch: Mapping[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """Fields of `spec` that change are the writer's from then on, as `managedFields` says."""
        self._admit(path)
        self._admit(f"PATCH {path}")
        before = self.read_object(path)
        after: dict[str, Any] = _merged(before, patch)
        changed: dict[str, Any] = {
            f"f:{key}": {} for key in patch.get("spec", {}) if before["spec"].get(key) != after["spec"].get(key)
        }
        if changed:
            meta = after["metadata"]
            meta["generation"] = meta.get("generation", 1) + 1
            entry = {"manager": PAUSE_WRITER, "operation": "Update", "time": self.now, "fieldsV1": {"f:spec": changed}}
            others = [one for one in meta.get("managedFields", []) if not one["fieldsV1"]["f:spec"].keys() & changed]
            meta["managedFields"] = [*others, entry]
        collection = path.rpartition("/")[0]
        if not dry_run:
            kept = [one for one in self.objects[collection] if one["metadata"]["name"] != before["metadata"]["name"]]
            self.objects[collection] = [*kept, after]
        return after

    def create_object(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Into its collection, with the namespace of the path; KubeConflict where it is there."""
        self._admit(f"POST {path}")
        namespace, meta = _namespace_in(path), body["metadata"]
        made = {**body, "metadata": {**meta, **({"namespace": namespace} if namespace else {})}}
        everywhere = path.replace(f"/namespaces/{namespace}", "") if namespace else path
        there = self.objects.setdefault(everywhere, [])
        if any(_identity(one) == _identity(made) for one in there):
            raise KubeConflict(f'cannot create {path}: "{meta["name"]}" already exists')
        there.append(made)
        return made

    def delete_object(self, path: str) -> None:
        """At once; with a namespace goes all that is in it."""
        self._admit(f"DELETE {path}")
        gone = self.read_object(path)
        collection, namespace = path.rpartition("/")[0], _namespace_in(path.rpartition("/")[0])
        there = self.objects[collection.replace(f"/namespaces/{namespace}", "") if namespace else collection]
        there[:] = [one for one in there if _identity(one) != _identity(gone)]
        if path.startswith("/api/v1/namespaces/") and path.count("/") == NAMESPACE_DEPTH:
            name = gone["metadata"]["name"]
            for found in self.objects.values():
                found[:] = [one for one in found if one["metadata"].get("namespace") != name]

    def read_user(self) -> str:
        """The test's."""
        self._admit("selfsubjectreviews")
        return self.user

    def read_text(self, path: str, **query: str) -> str:
        """A pod's log: the newest lines, as `tailLines` asks."""
        self._admit(path)
        name = path.removesuffix("/log").rpartition("/")[2] + (":previous" if query.get("previous") else "")
        if name not in self.logs:
            raise KubeNotFound(f"cannot read {path}: not found")
        lines = self.logs[name].splitlines(keepends=True)
        return "".join(lines[-int(query.get("tailLines", len(lines))) :])

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str], *, container: str = "agent") -> bytes:
        """What the test put there."""
        self.ran.append((namespace, pod, tuple(command)))
        answer = self.printed.get(pod) or KubeDenied(f"cannot run it in pod {namespace}/{pod}: forbidden")
        if isinstance(answer, KubeError):
            raise answer
        return answer

    def _admit(self, path: str) -> None:
        if path in self.denied:
            raise KubeDenied(f"cannot read {path}: forbidden")


def _identity(body: Mapping[str, Any]) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _namespace_in(path: str) -> str:
    return path.partition("/namespaces/")[2].partition("/")[0]


def _merged(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(value) if isinstance(value, Mapping) else {}
    for key, one in patch.items():
        found[key] = _merged(found.get(key), one)
    return {key: one for key, one in found.items() if one is not None}


def _selected(body: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    labels = body["metadata"].get("labels", {})
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = term.partition("=")
        if labels.get(key) != value:
            return False
    key, _, value = query.get("fieldSelector", "").partition("=")
    kind, _, field = key.partition(".")
    return kind != "involvedObject" or bool(body["involvedObject"].get(field) == value)
