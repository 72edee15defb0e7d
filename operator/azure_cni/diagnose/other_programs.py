"""Other programs that have to fit azure-cni: engines for network policy, Multus, autoscalers; as their pods show them.

A pod is one by its label. Most of these programs are on their node's own network, and count only there: a tenant may
choose labels, and not that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from azure_cni.api.reading import mapping, mappings, metadata_of, spec_of, status_of, text
from azure_cni.diagnose.component_settings import begins_with_shell, env_of, words_of, workload_of
from azure_cni.model.text import legible

LINK_NAMES: Final = "AZURE_CNI_LINK_NAMES"
CHAIN_BANDWIDTH: Final = "AZURE_CNI_CHAIN_BANDWIDTH"
EXTRA_PLUGINS: Final = "AZURE_CNI_EXTRA_PLUGINS"
CONF_NAME: Final = "AZURE_CNI_CONF_NAME"
AGENT_SETTINGS: Final = (LINK_NAMES, CHAIN_BANDWIDTH, EXTRA_PLUGINS, CONF_NAME)
"""Settings of agents that the other side of a combination depends on."""
BANDWIDTH: Final = ("kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth")
"""Annotations of pods, which the reference plugin `bandwidth` obeys."""
_NO_QUEUE: Final = re.compile(r'dataplane controller failed: ([^"\n]*)')
_RULES_BEGIN: Final = re.compile(r'"Syncing nftables rules"(?!.* elapsed=)')
_RULES_FAIL: Final = re.compile(r'"syncing nftables rules".* error=(?:"([^"]*)"|<\n\t([^\n]*))')
"""What kube-network-policies writes before it loads its rules, and where the kernel refuses them (klog: an error of
several lines is in angle brackets)."""


class Program(StrEnum):
    """What it is, in words for people."""

    ENGINE = "kube-network-policies"
    CALICO = "Calico"
    TYPHA = "Typha"
    """Of Calico: between the API server and the engines of large clusters."""
    CILIUM = "Cilium"
    ROUTER = "kube-router"
    MULTUS = "Multus"
    AUTOSCALER = "cluster-autoscaler"
    KARPENTER = "Karpenter"


_OF_THE_NODE: Final = {
    "kube-network-policies": Program.ENGINE,
    "calico-node": Program.CALICO,
    "calico-typha": Program.TYPHA,
    "cilium": Program.CILIUM,
    "kube-router": Program.ROUTER,
    "multus": Program.MULTUS,
}
"""By the label `k8s-app`, `app` or `name`, of pods on the node's own network."""


@dataclass(frozen=True, slots=True)
class OtherProgram:
    """One pod of such a program."""

    program: Program
    namespace: str
    pod: str
    node: str = ""
    workload: tuple[str, str] = ("", "")
    """Kind and name of what has to be changed, for kubectl."""
    image: str = ""
    words: tuple[str, ...] = ()
    """What its container is started with."""
    place: str = ""
    """Where a flag can be added, as JSON patch has it; "" where a shell begins it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of its container; "" where the value is elsewhere."""
    ready: bool = False
    state: str = ""
    """Why it does not run, by the kubelet; else its phase."""
    priority: str = ""

    @property
    def full_name(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.namespace}/{self.pod}"

    def values(self, *flags: str) -> list[str]:
        """What these flags are given, as `--flag=value` or as two words."""
        found = []
        for place, word in enumerate(self.words):
            name, equals, value = word.partition("=")
            if name.startswith("-") and name.lstrip("-").replace("_", "-") in flags:
                following = self.words[place + 1] if self.words[place + 1 :] else ""
                found.append(value if equals else following)
        return found


@dataclass(frozen=True)
class ProgramObjects:
    """What else is read where it matters. None: it is not there, or could not be read."""

    policies: tuple[str, ...] = ()
    """NetworkPolicies, as NAMESPACE/NAME."""
    node_pools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Karpenter's NodePools by name: the spec of their nodes."""
    felix: Mapping[str, Any] | None = None
    """The spec of Calico's FelixConfiguration `default`."""
    cilium: Mapping[str, Any] | None = None
    """Cilium's ConfigMap."""
    multus: Mapping[str, Any] | None = None
    """What Multus' daemon is configured with, of its thick kind."""
    engine_faults: Mapping[str, str] = field(default_factory=dict)
    """Why kube-network-policies enforces nothing on a node, in the words of its log."""


def parse_program(body: Mapping[str, Any], app: str) -> OtherProgram | None:
    """Of a Pod object with this label; None for any other pod."""
    meta, spec = metadata_of(body), spec_of(body)
    program = _program(mapping(meta.get("labels")), app, host_network=spec.get("hostNetwork") is True)
    if program is None:
        return None
    status, containers = status_of(body), mappings(spec.get("containers"))
    index = next((at for at, one in enumerate(containers) if program.lower() in text(one.get("name")).lower()), 0)
    container = containers[index] if containers else {}
    shown = [mapping(mapping(one.get("state")).get("waiting")) for one in mappings(status.get("containerStatuses"))]
    ready = next((one for one in mappings(status.get("conditions")) if one.get("type") == "Ready"), {})
    return OtherProgram(
        program,
        namespace=text(meta.get("namespace")),
        pod=text(meta.get("name")),
        node=text(spec.get("nodeName")),
        workload=workload_of(meta),
        image=text(container.get("image")),
        words=words_of(container),
        place=_place(container, index),
        env=env_of(container),
        ready=ready.get("status") == "True" and not meta.get("deletionTimestamp"),
        state=next(filter(None, (text(one.get("reason")) for one in shown)), "") or text(status.get("phase")),
        priority=text(spec.get("priorityClassName")),
    )


def _program(labels: Mapping[str, Any], app: str, *, host_network: bool) -> Program | None:
    name, component = (text(labels.get(f"app.kubernetes.io/{key}")) for key in ("name", "component"))
    if host_network:
        ours = component == "network-policy" and name == "azure-cni"  # as the chart labels it
        return Program.ENGINE if ours else _OF_THE_NODE.get(app)
    if app == "cluster-autoscaler" or name.endswith("cluster-autoscaler"):
        return Program.AUTOSCALER
    return Program.KARPENTER if "karpenter" in {name, app} else None


def _place(container: Mapping[str, Any], index: int) -> str:
    if begins_with_shell(container):
        return ""
    command, arguments = container.get("command"), container.get("args")
    key = "args" if isinstance(arguments, list) or not isinstance(command, list) else "command"
    return f"/spec/template/spec/containers/{index}/{key}/-" if isinstance(container.get(key), list) else ""


def engine_fault(first: str, newest: str) -> str:
    """Why kube-network-policies enforces nothing, by the first and the newest lines of its log; "" where it does.

    It stays Running and Ready then. Rules that the kernel refuses are tried again when pods or policies change, and a
    queue that cannot be opened is given up.
    """
    given_up = _NO_QUEUE.search(first) or _NO_QUEUE.search(newest)
    if given_up:
        return legible(given_up[1])
    log = newest if _RULES_BEGIN.search(newest) or _RULES_FAIL.search(newest) else first
    begun = [line.start() for line in _RULES_BEGIN.finditer(log)]
    refused = _RULES_FAIL.search(log, begun[-1] if begun else 0)
    return legible(refused[1] or refused[2]) if refused else ""
