"""What is wrong with a manifest that concerns azure-cni: our custom resources, and annotations and gates of ours. Pure.

Each rule stands where the product itself has it: the definitions' schema, `ipam.sizing`, `api.pod_annotations`,
`api.egress`. Here is only where in a document it applies. The definitions' own expressions (CEL) cannot be evaluated
offline; a contract test holds what stands for them here to the API server's verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from azure_cni.api import egress, nic_wishes, node_ip_pool, pod_annotations, vnet_quota
from azure_cni.api.node_ip_pool import GROUP
from azure_cni.api.reading import mapping, mappings, metadata_of, spec_of, text
from azure_cni.diagnose.schemas import Path, violations
from azure_cni.errors import ConfigInvalid
from azure_cni.ipam.sizing import Policy, override
from azure_cni.model.identity import ModeName
from azure_cni.model.text import legible

OF_PODS: Final = (*pod_annotations.KNOWN, egress.EGRESS)
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": OF_PODS,
    "Namespace": (egress.EGRESS,),
    node_ip_pool.KIND: (node_ip_pool.READ_NOW, node_ip_pool.PAUSE),
    vnet_quota.KIND: (vnet_quota.MADE_BY_CONTROLLER,),
}
"""Annotations that have an effect, by the kind of object that has them."""
OURS: Final = f"{GROUP}/"

Fault = tuple[Path, str]
"""Where in the document, and what is wrong, in words."""


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether it is a NodeIPPool or a VNetQuota, of whatever version."""
    return text(document.get("apiVersion")).startswith(OURS)


def manifest_faults(document: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    """Of one object. `definitions`: the CustomResourceDefinitions, by kind; without that of its kind its schema is not
    judged.
    """
    kind = text(document.get("kind"))
    if is_ours(document):
        yield from _of_resource(document, kind, definitions)
    for path, meta, spec in _annotated(document, ()):
        yield from _of_annotations(document, kind, path, meta)
        yield from _of_gates(path, meta, spec)


def _of_resource(
    document: Mapping[str, Any], kind: str, definitions: Mapping[str, Mapping[str, Any]]
) -> Iterator[Fault]:
    version = text(document.get("apiVersion")).removeprefix(OURS)
    known = {node_ip_pool.KIND, vnet_quota.KIND}
    if kind not in known:
        yield ("kind",), f'there is no kind "{legible(kind)}" in {GROUP}: {" and ".join(sorted(known))} are'
        return
    if not text(metadata_of(document).get("name")):
        yield ("metadata",), "it needs a name"
    versions = _versions(kind, definitions)
    if versions and version not in versions:
        yield ("apiVersion",), f'{kind} has no version "{legible(version)}": there is {", ".join(versions)}'
    elif versions:
        schema = mapping(mapping(versions[version].get("schema")).get("openAPIV3Schema"))
        found = list(violations(schema, document, closed=True))
        yield from found
        if not found and kind == node_ip_pool.KIND:
            yield from _of_pool_spec(document)


def unserved_version(document: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> str:
    """The version, where the object's definition has it and does not have the API server serve it; else ""."""
    version = text(document.get("apiVersion")).removeprefix(OURS)
    defined = _versions(text(document.get("kind")), definitions).get(version, {}) if is_ours(document) else {}
    return version if defined.get("served") is False else ""


def _versions(kind: str, definitions: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Those that the definition of the kind knows, served or not: all have a schema."""
    return {text(one.get("name")): one for one in mappings(spec_of(definitions.get(kind, {})).get("versions"))}


def _of_pool_spec(document: Mapping[str, Any]) -> Iterator[Fault]:
    """What the definition's expressions say, and what its agent would refuse later."""
    spec = {key: value for key, value in spec_of(document).items() if value is not None}  # as the API server stores it
    pool = node_ip_pool.parse({**document, "spec": spec})
    try:
        overrides = pool.spec_overrides()
        policy = override(Policy(), overrides)
        pool.wanted_mode(ModeName.TRANSPARENT)
        nic_wishes.wanted_security_groups(pool)
        nic_wishes.wanted_subnet(pool)
    except ConfigInvalid as error:
        yield ("spec",), str(error)
        return
    if policy.size is not None and policy.size > policy.maximum:
        yield ("spec", "size"), f"size is {policy.size}, and cannot be more than max, which is {policy.maximum}"


def _annotated(value: Any, path: Path) -> Iterator[tuple[Path, Mapping[str, Any], Mapping[str, Any]]]:
    """Every object and every template of pods in the document: where, its metadata, its spec."""
    if isinstance(value, Mapping):
        if isinstance(value.get("metadata"), Mapping) or "readinessGates" in spec_of(value):
            yield path, metadata_of(value), spec_of(value)
        for key, one in value.items():
            if key != "metadata":
                yield from _annotated(one, (*path, key))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _annotated(one, (*path, place))


def _of_annotations(document: Mapping[str, Any], kind: str, path: Path, meta: Mapping[str, Any]) -> Iterator[Fault]:
    """`path` is that of the object; that of a template is within it, and stands for pods."""
    written, here = mapping(meta.get("annotations")), (*path, "metadata", "annotations")
    known = KNOWN.get("Pod" if path else kind, ())
    for key in (name for name in map(str, written) if name.startswith(OURS)):
        if key in known:
            continue
        near = get_close_matches(key, known, n=1)
        elsewhere = [name for name, keys in KNOWN.items() if key in keys]
        hint = f'did you mean "{near[0]}"?' if near else "there is none of that name"
        if elsewhere:
            template = "; write it into the template's metadata" if "template" in spec_of(document) else ""
            hint = f"it belongs on a {' or '.join(elsewhere)}{template}"
        yield (*here, key), f'the annotation "{legible(key)}" has no effect here: {hint}'
    yield from _of_values(written, here, known)


def _of_values(written: Mapping[str, Any], here: Path, known: tuple[str, ...]) -> Iterator[Fault]:
    for key in known:
        if key in written and not isinstance(written[key], str):
            yield (*here, key), f"an annotation must be a string, and this is {written[key]!r}; put it in quotes"
    if egress.EGRESS in known and (value := text(written.get(egress.EGRESS))):
        everywhere = egress.EgressNamespaces.of(["*"])
        choice = egress.choose(pod=value, namespace="", name="", allowed=everywhere)
        if choice.refusal:
            yield (*here, egress.EGRESS), f'it is "{legible(value)}", and must be "pod" or "node"'
    if pod_annotations.PUBLIC_IP in known:
        for fault in pod_annotations.read_annotations(written).faults:
            key = next((name for name in pod_annotations.KNOWN if fault.startswith(name)), "")
            yield (*here, key), fault


def _of_gates(path: Path, meta: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Fault]:
    """A pod with our gate, and nothing that could open it, is never ready."""
    for place, gate in enumerate(mappings(spec.get("readinessGates"))):
        kind, here = text(gate.get("conditionType")), (*path, "spec", "readinessGates", place, "conditionType")
        if kind.startswith(OURS) and kind != pod_annotations.LOAD_BALANCER_ATTACHED:
            yield here, f'there is no condition "{legible(kind)}": {pod_annotations.LOAD_BALANCER_ATTACHED} is'
        elif kind.startswith(OURS) and not any(
            key in mapping(meta.get("annotations")) for key in pod_annotations.KNOWN
        ):
            yield here, f"the pod asks for nothing ({' or '.join(pod_annotations.KNOWN)}), so it never becomes ready"
