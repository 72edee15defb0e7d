"""What is known of how a cluster is set: kube-proxy by its ConfigMap, others by their flags, and our definitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api import node_ip_pool
from azure_cni.api.reading import mapping, mappings, spec_of, text

SYSTEM: Final = "kube-system"
"""Where the control plane and kube-proxy run."""
FLAGS: Final = ("--allocate-node-cidrs", "--configure-cloud-routes")
"""Of controller managers: with these they give each Node a range of addresses, and a route, that no pod uses."""
_GIVEN: Final = re.compile(rf"({'|'.join(FLAGS)})(?:=(\w*))?")
_TRUE: Final = frozenset({None, "1", "t", "T", "true", "TRUE", "True"})
"""What Go takes for true (`strconv.ParseBool`); a flag without a value is set, too."""
_LINE_OF_KEY: Final = re.compile(r"^ *(clusterCIDR|detectLocalMode|interfaceNamePrefix):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KubeProxyFacts:
    """What kubeadm's ConfigMap says to kube-proxy. `keys`: those of the three that have a line of their own."""

    cluster_cidr: str = ""
    detect_mode: str = ""
    prefix: str = ""
    keys: frozenset[str] = frozenset()


def parse_kube_proxy(configuration: Mapping[str, Any], written: str) -> KubeProxyFacts:
    """Of a KubeProxyConfiguration, and the text in which it is written."""
    detect = mapping(configuration.get("detectLocal"))
    return KubeProxyFacts(
        cluster_cidr=text(configuration.get("clusterCIDR")),
        detect_mode=text(configuration.get("detectLocalMode")),
        prefix=text(detect.get("interfaceNamePrefix")),
        keys=frozenset(_LINE_OF_KEY.findall(written)),
    )


def flags_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Of FLAGS, those that a container of this pod is started with, as they are written: also in a shell's line."""
    lists = [one.get(key) for one in mappings(spec.get("containers")) for key in ("command", "args")]
    words = (word for one in lists if isinstance(one, list) for words in one for word in text(words).split())
    given = {found[1]: found for found in map(_GIVEN.fullmatch, words) if found}  # the last of two counts
    return tuple(sorted(found[0] for found in given.values() if found[2] in _TRUE))


def owner_of(meta: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name of the controller that made it."""
    found = next((one for one in mappings(meta.get("ownerReferences")) if one.get("controller") is True), {})
    return text(found.get("kind")), text(found.get("name"))


def workload_of(meta: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name of what has to be changed for this pod to be: a ReplicaSet is named after its Deployment."""
    kind, name = owner_of(meta)
    return ("Deployment", name.rpartition("-")[0]) if kind == "ReplicaSet" else (kind, name)


def defined_fields(definition: Mapping[str, Any]) -> frozenset[str]:
    """What a CustomResourceDefinition has of the version that this program reads."""
    versions = mappings(spec_of(definition).get("versions"))
    served = next((one for one in versions if text(one.get("name")) == node_ip_pool.VERSION), {})
    schema = mapping(mapping(mapping(served.get("schema")).get("openAPIV3Schema")).get("properties"))
    return frozenset(
        f"{part}.{name}" for part in ("spec", "status") for name in mapping(mapping(schema.get(part)).get("properties"))
    )
