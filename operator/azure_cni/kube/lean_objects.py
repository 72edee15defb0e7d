"""The fields that an agent uses of a Pod, and a controller of a NodeIPPool, extracted as lists and watches arrive.

Each agent decides what its own pool holds, and an older CRD may not limit it. A page of a hundred pools of a megabyte
each, read and decoded whole, would take more memory than a controller has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from azure_cni.api import node_ip_pool, pod_annotations
from azure_cni.api.egress import EGRESS, LONGEST
from azure_cni.api.reading import mapping, mappings, text
from azure_cni.model.attachments import LONGEST_ID
from azure_cni.model.text import NOT_JSON

PODS: Final = "/api/v1/pods"
NAMESPACES: Final = "/api/v1/namespaces"
_MIRROR: Final = "kubernetes.io/config.mirror"


_ANNOTATIONS: Final = (_MIRROR, EGRESS, *pod_annotations.KNOWN)
_LONGEST_LIST: Final = 2 * pod_annotations.MOST_POOLS * LONGEST_ID
"""Characters: twice what the most resource IDs have that can be used, for spaces. What is longer is no such list."""


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815  # Kubernetes' spelling
    deletionTimestamp: str | None = None  # noqa: N815
    annotations: dict[str, Any] | None = None


class _Spec(msgspec.Struct, omit_defaults=True):
    hostNetwork: bool = False  # noqa: N815
    readinessGates: list[dict[str, Any]] | None = None  # noqa: N815


class _Status(msgspec.Struct, omit_defaults=True):
    phase: str = ""
    podIP: str = ""  # noqa: N815
    conditions: list[dict[str, Any]] | None = None


class _Pod(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_decode_pod = msgspec.json.Decoder(_Pod).decode


def pod_selector(node_name: str) -> str:
    """The pods that hold or need an address on this node. Those that have ended do neither, and may be thousands."""
    return f"spec.nodeName={node_name},status.phase!=Failed,status.phase!=Succeeded"


def lean_pod(item: bytes) -> dict[str, Any] | None:
    """What `node.demand` reads of a Pod, as a map of the same shape; None where it cannot be read."""
    try:
        pod = _decode_pod(item)
    except msgspec.ValidationError:  # a field is of another type: what is read of it decides `demand`
        return _whole_pod(item)
    except NOT_JSON:
        return None
    pod.metadata.annotations = _kept_of(pod.metadata.annotations) or None
    pod.spec.readinessGates = _gates(pod.spec.readinessGates) or None
    pod.status.conditions = _conditions(pod.status.conditions) or None
    found: dict[str, Any] = msgspec.to_builtins(pod)
    return found


class _NamespaceAnnotations(msgspec.Struct, omit_defaults=True):
    egress: str = msgspec.field(name=EGRESS, default="")


class _NamespaceMetadata(msgspec.Struct, omit_defaults=True):
    name: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815
    annotations: _NamespaceAnnotations | None = None


class _Namespace(msgspec.Struct, omit_defaults=True):
    metadata: _NamespaceMetadata = msgspec.field(default_factory=_NamespaceMetadata)


_decode_namespace = msgspec.json.Decoder(_Namespace).decode


def lean_namespace(item: bytes) -> dict[str, Any] | None:
    """What an agent reads of a Namespace, as a map of the same shape; None where it cannot be read."""
    try:
        namespace = _decode_namespace(item)
    except NOT_JSON:
        return None
    if namespace.metadata.annotations is not None:
        namespace.metadata.annotations.egress = namespace.metadata.annotations.egress[:LONGEST]
    found: dict[str, Any] = msgspec.to_builtins(namespace)
    return found


def _kept_of(annotations: object) -> dict[str, str]:
    """The beginning of those that are read: a pod may have a quarter of a megabyte of annotations."""
    found = {name: text(mapping(annotations).get(name)) for name in _ANNOTATIONS}
    return {name: value[: LONGEST if name == EGRESS else _LONGEST_LIST] for name, value in found.items() if value}


def _gates(found: object) -> list[Any]:
    return [gate for gate in mappings(found) if gate.get("conditionType") == pod_annotations.LOAD_BALANCER_ATTACHED]


def _conditions(found: object) -> list[Any]:
    return [one for one in mappings(found) if one.get("type") == pod_annotations.LOAD_BALANCER_ATTACHED]


def _whole_pod(item: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(item)
    except NOT_JSON:
        return None
    if not isinstance(found, dict):
        return None
    parts: dict[str, type[msgspec.Struct]] = {"metadata": _Metadata, "spec": _Spec, "status": _Status}
    pod = {part: {key: mapping(found.get(part)).get(key) for key in _keys(kind)} for part, kind in parts.items()}
    pod["metadata"]["annotations"] = _kept_of(pod["metadata"]["annotations"])
    pod["spec"]["readinessGates"] = _gates(pod["spec"]["readinessGates"])
    pod["status"]["conditions"] = _conditions(pod["status"]["conditions"])
    return pod


def _keys(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(one.encode_name for one in msgspec.structs.fields(kind))


POOLS: Final = f"/apis/{node_ip_pool.GROUP}/{node_ip_pool.VERSION}/{node_ip_pool.PLURAL}"
LONGEST_VALUE: Final = 1024
"""Characters. Resource IDs are shorter, by the definition too."""
LONGEST_WRITTEN: Final = 2 + 12 * LONGEST_VALUE
"""Bytes of such a value with quotes, if each of its characters is two escapes."""

ODD: Final = "?"

_POOL_METADATA: Final = ("name", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_POOL_STATUS: Final = (
    *(
        "vmID",
        "nicID",
        "vnetID",
        "subnetID",
        "requested",
        "requestID",
        "writeIntent",
        "waiting",
        "granted",
        "grantedFor",
        "grantReason",
    ),
    *("grantNotBefore", "allocated", "assigned", "free", "target", "throttledUntil", "blocks"),
    *("releasable", "recallMet", "recalling", "subnetRefusedTime"),
)
_OPERATION: Final = ("id",)
_RECALL: Final = ("number", "hold")
_RESULT: Final = ("id", "usedGrant", "challenge")
_IDENTITY: Final = ("vmId", "attested")


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL: Final = b"null"


def lean_pool(item: bytes) -> dict[str, Any] | None:
    """What the controller reads of a pool, as a map of the same shape; None if the item is no map."""
    body = _fields(item)
    if body is None:
        return None
    metadata, status = (_fields(body.get(part, b"")) or {} for part in ("metadata", "status"))
    kept = _some(status, _POOL_STATUS)
    if (recall := _fields(status.get("recall", b""))) is not None:
        kept["recall"] = _some(recall, _RECALL)
    if bytes(status.get("writeIntent", _NULL)) != _NULL:
        kept.setdefault("writeIntent", ODD)  # an unknown value is treated as a write
    if (operation := _fields(status.get("nicOperation", b""))) is not None:
        kept["nicOperation"] = _some(operation, _OPERATION)
    if (result := _fields(status.get("nicOperationResult", b""))) is not None:
        identity = _some(_fields(result.get("identity", b"")) or {}, _IDENTITY)
        kept["nicOperationResult"] = {**_some(result, _RESULT), "identity": identity}
    return {"metadata": _some(metadata, _POOL_METADATA), "status": kept}


LARGE_POOL, LARGE_FIELD = 2**19, 2**18
"""Bytes. A pool of 250 addresses is some 20 KiB; with the longest names, and another resource attached to each address,
its longest field would be 190 KiB."""


def own_pool(item: bytes) -> dict[str, Any] | None:
    """A pool for its own agent, which needs all of it: of one that no agent wrote, without the fields that are large.

    The agent takes them as absent, and writes them again.
    """
    body = _fields(item)
    if body is None:
        return None
    status = _fields(body.pop("status", b"")) or {}
    most = LARGE_FIELD if len(item) > LARGE_POOL else LARGE_POOL
    kept = {key: value for key, value in status.items() if len(bytes(value)) <= most}
    try:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode({**body, "status": kept}))
    except NOT_JSON:
        return None
    return found


def _fields(content: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """Each field of an object as it was written: what is not used is looked through, not decoded. None: no object."""
    try:
        return _decode_fields(content)
    except NOT_JSON:
        return None


def _some(fields: Mapping[str, msgspec.Raw], keys: Collection[str]) -> dict[str, Any]:
    short = {key: fields[key] for key in keys if key in fields and len(bytes(fields[key])) <= LONGEST_WRITTEN}
    found = {key: _value(value) for key, value in short.items()}
    return {key: value for key, value in found.items() if _is_small(value)}


def _value(content: msgspec.Raw) -> object:
    """None where it cannot be read: text that is not UTF-8, or nested without end."""
    try:
        return msgspec.json.decode(content)
    except NOT_JSON:
        return None


def _is_small(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= LONGEST_VALUE)
