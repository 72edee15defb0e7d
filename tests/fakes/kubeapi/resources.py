"""The kinds that the server knows, what a request is about, and the documents of discovery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

PODS = "/api/v1/pods"
NAMESPACES = "/api/v1/namespaces"
NODES = "/api/v1/nodes"
EVENTS = "/api/v1/events"
POOLS = "/apis/azure-cni.io/v1alpha1/nodeippools"
QUOTAS = "/apis/azure-cni.io/v1alpha1/vnetquotas"
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.3"}
VERBS = ("get", "list", "watch", "create", "patch", "delete")


@dataclass(frozen=True)
class Resource:
    """A kind that the server knows; `path` is that of the API version that serves it."""

    path: str
    plural: str
    kind: str
    namespaced: bool = False
    status_subresource: bool = True

    @property
    def group(self) -> str:
        return "" if self.path.startswith("/api/") else self.path.split("/")[2]

    @property
    def type_meta(self) -> dict[str, str]:
        """What every object says that it is."""
        return {"apiVersion": _version(self.path), "kind": self.kind}

    @property
    def label(self) -> str:
        """As messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def discovered(self) -> dict[str, Any]:
        return {
            "name": self.plural,
            "singularName": self.kind.lower(),
            "kind": self.kind,
            "namespaced": self.namespaced,
            "verbs": list(VERBS),
        }


RESOURCES = (
    Resource("/api/v1", "nodes", "Node"),
    Resource("/api/v1", "pods", "Pod", namespaced=True),
    Resource("/api/v1", "events", "Event", namespaced=True, status_subresource=False),
    Resource("/apis/azure-cni.io/v1alpha1", "nodeippools", "NodeIPPool"),
    Resource("/apis/azure-cni.io/v1alpha1", "vnetquotas", "VNetQuota"),
    # kopf does not begin before it has discovered these two.
    Resource("/api/v1", "namespaces", "Namespace"),
    Resource("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition"),
    Resource("/apis/coordination.k8s.io/v1", "leases", "Lease", namespaced=True, status_subresource=False),
)


@dataclass(frozen=True)
class Target:
    """What a request is about: a collection, of one namespace or of all, an object, or its status."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def named(self, name: str, namespace: str) -> Target:
        """The object of that name in this collection."""
        return replace(self, name=name, namespace=namespace if self.resource.namespaced else "", subresource="")

    def holds(self, other: Target) -> bool:
        """Whether that object is in this collection."""
        return other.resource == self.resource and self.namespace in {"", other.namespace}

    def __str__(self) -> str:
        return f'{self.resource.label} "{self.name}"'


def target_of(path: str) -> Target | None:
    """What a path is about; None for one that is not served."""
    for resource in RESOURCES:
        if not path.startswith(f"{resource.path}/"):
            continue
        parts = path.removeprefix(f"{resource.path}/").split("/")
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, subresource = (*parts, "", "")[:3]
        if plural == resource.plural:
            misplaced = resource.namespaced != bool(namespace) and (name or namespace)
            lacking = subresource and not (subresource == "status" and resource.status_subresource)
            return None if misplaced or lacking else Target(resource, namespace, name, subresource)
    return None


def discovery(path: str) -> dict[str, Any] | None:
    """The document of discovery at a path, None where there is none."""
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    served = {resource.path for resource in RESOURCES}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "groups": [_group(prefix) for prefix in sorted(served) if prefix.startswith("/apis/")],
        }
    if path in served:
        resources = [resource.discovered() for resource in RESOURCES if resource.path == path]
        return {"kind": "APIResourceList", "groupVersion": _version(path), "resources": resources}
    return None


def selected(selector: str, body: Mapping[str, Any]) -> bool:
    """Whether a field selector takes an object: `spec.nodeName=vm1,status.phase!=Failed`."""
    for term in filter(None, selector.split(",")):
        field, _, value = term.partition("=")
        found: Any = body
        for part in field.removesuffix("!").split("."):
            found = found.get(part, "") if isinstance(found, Mapping) else ""
        if (found == value) is field.endswith("!"):
            return False
    return True


def _version(prefix: str) -> str:
    return prefix.removeprefix("/apis/").removeprefix("/api/")


def _group(prefix: str) -> dict[str, Any]:
    _, _, name, version = prefix.split("/")
    known = {"groupVersion": _version(prefix), "version": version}
    return {"name": name, "versions": [known], "preferredVersion": known}
