"""What is known of how a cluster is set: kube-proxy by its ConfigMap, others by their flags, and our definitions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api import node_ip_pool
from azure_cni.api.reading import mapping, mappings, spec_of, text

SYSTEM: Final = "kube-system"
"""Where the control plane and kube-proxy run."""
FLAGS: Final = ("--allocate-node-cidrs", "--configure-cloud-routes")
"""Of controller managers: with these they give each Node a range of addresses, and a route, that no pod uses."""
_GIVEN: Final = re.compile(rf"({'|'.join(FLAGS)})(?:=(\w*))?")
FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_TRUE: Final = frozenset({None, "1", "t", "T", "true", "TRUE", "True"})
"""What Go takes for false and true (`strconv.ParseBool`); a flag without a value is set, too."""
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash"})
_VARIABLE: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_OF_A_SHELL: Final = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
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
    words = (word for one in mappings(spec.get("containers")) for word in words_of(one))
    given = {found[1]: found for found in map(_GIVEN.fullmatch, words) if found}  # the last of two counts
    return tuple(sorted(found[0] for found in given.values() if found[2] in _TRUE))


def words_of(container: Mapping[str, Any]) -> tuple[str, ...]:
    """What a container is started with, word for word, with the variables whose values it says itself.

    As a shell would have it where one begins it: without quotes. Of what has another value, the name stays.
    """
    env = env_of(container)

    def filled(found: re.Match[str]) -> str:
        return env.get(next(filter(None, found.groups())), "") or found[0]

    lists = (container.get(key) for key in ("command", "args"))
    elements = [_VARIABLE.sub(filled, text(word)) for one in lists if isinstance(one, list) for word in one]
    if begins_with_shell(container):
        return tuple(word for line in elements for word in _shell_words(_OF_A_SHELL.sub(filled, line)))
    return tuple(word for element in elements for word in element.split())


def begins_with_shell(container: Mapping[str, Any]) -> bool:
    """Whether its program is a shell, which is given a line."""
    command = container.get("command")
    return isinstance(command, list) and bool(command) and text(command[0]).rpartition("/")[2] in _SHELLS


def env_of(container: Mapping[str, Any]) -> dict[str, str]:
    """Its variables; "" where the value is elsewhere."""
    return {text(one.get("name")): text(one.get("value")) for one in mappings(container.get("env"))}


def _shell_words(line: str) -> Sequence[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote without its end
        return line.split()


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
