"""Whether kube-proxy and the controller managers are set as docs/install.md has it, as far as the API shows it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from typing import Final

from azure_cni.diagnose.check_results import CheckResult, ClusterCheck
from azure_cni.diagnose.component_settings import SYSTEM, KubeProxyFacts
from azure_cni.diagnose.evidence import PodFacts
from azure_cni.model.identity import ModeName

PAGE: Final = "docs/install.md#2-the-cluster"
PREFIXES: Final = {ModeName.TRANSPARENT: "acni", ModeName.BRIDGE: "azure0"}
"""What the interfaces of pods are called, by mode; docs/install.md, "How kube-proxy recognises pods"."""
BY_NAME: Final = "InterfaceNamePrefix"
MANIFESTS: Final = "/etc/kubernetes/manifests"
"""Where kubeadm has the kubelet look for static pods."""


def check_flags(pods: Iterable[PodFacts]) -> list[ClusterCheck]:
    """One check for each component that hands out ranges or routes; one that is good where none does."""
    found = {_component(pod): pod for pod in pods if pod.flags and not pod.ending}
    made = [_of_component(component, pod) for component, pod in sorted(found.items())]
    message = "no component of the control plane that is seen here hands out ranges or routes of pods"
    return made or [ClusterCheck("cluster", "PodRanges", CheckResult.GOOD, message, page=PAGE)]


def _component(pod: PodFacts) -> tuple[str, str]:
    """Kind and name of what has to be changed."""
    return pod.owner if pod.owner[0] in {"DaemonSet", "Deployment"} else ("Node", pod.name)


def _of_component(component: tuple[str, str], pod: PodFacts) -> ClusterCheck:
    kind, name = component
    flags = " and ".join(pod.flags)
    names = [flag.partition("=")[0] for flag in pod.flags]
    changes = " ".join(["-E", *(f"-e 's/{name}(=[A-Za-z0-9]*)?/{name}=false/'" for name in names)])
    if kind == "Node":  # a static pod, which the API server only shows
        manifest = f"{MANIFESTS}/{name.removesuffix(f'-{pod.node}')}.yaml"
        command, node = f"sed -i {changes} {shlex.quote(manifest)}", pod.node
    else:
        what = f"{kind.lower()} {shlex.quote(name)}"
        command, node = f"kubectl -n {SYSTEM} get {what} -o yaml | sed {changes} | kubectl replace -f -", ""
    message = f"{SYSTEM}/{name} runs with {flags}: Nodes get ranges of addresses, or routes, that no pod uses"
    do = "turn it off; if it is a chart's or an installer's, there too"
    return ClusterCheck("cluster", "PodRanges", CheckResult.WARNING, message, do, PAGE, command, node)


def check_kube_proxy(facts: KubeProxyFacts, *, modes: Collection[ModeName]) -> ClusterCheck:
    """By which connections kube-proxy takes for pods'. `modes`: those of the nodes, empty before the install."""
    prefixes = [PREFIXES[mode] for mode in ModeName if not modes or mode in modes]  # the chart's default first
    if facts.detect_mode == BY_NAME and facts.prefix in prefixes:
        message = f"kube-proxy recognises pods by the names of their interfaces ({facts.prefix})"
        return ClusterCheck("cluster", "KubeProxy", CheckResult.GOOD, message, page=PAGE)
    result, message = _wrong(facts, " or ".join(prefixes))
    do = f'set detectLocalMode: {BY_NAME}, interfaceNamePrefix: {prefixes[0]} and clusterCIDR: "", and start it again'
    return ClusterCheck("cluster", "KubeProxy", result, message, do, PAGE, _by_name(facts, prefixes[0]))


def _wrong(facts: KubeProxyFacts, prefixes: str) -> tuple[CheckResult, str]:
    mode = facts.detect_mode or "ClusterCIDR"
    if mode == "NodeCIDR":
        return CheckResult.BAD, "kube-proxy has detectLocalMode NodeCIDR: it waits for a podCIDR that no Node gets"
    if mode == BY_NAME:
        message = f"kube-proxy takes interfaces {facts.prefix or 'without a name'}* for pods', which are {prefixes}*"
        return CheckResult.WARNING, message
    if mode == "ClusterCIDR" and facts.cluster_cidr:
        message = f"kube-proxy has clusterCIDR {facts.cluster_cidr}: the server of a Service sees the node, not the pod"
        return CheckResult.WARNING, message
    message = (
        f"kube-proxy does not recognise pods (detectLocalMode {mode}): nobody answers a pod that calls a node port of "
        "its own node with externalTrafficPolicy Local, while the server is on another"
    )
    return CheckResult.WARNING, message


def _by_name(facts: KubeProxyFacts, prefix: str) -> str:
    """The command that changes the settings in place; where keys have no line of their own, a person has to.

    kubectl shows a ConfigMap's text line by line, or quoted as one string where a line ends in a blank. So the text
    itself is read, changed and written, in a patch that leaves the other keys of the ConfigMap alone.
    """
    values = {"clusterCIDR": '""', "detectLocalMode": BY_NAME, "interfaceNamePrefix": prefix}
    kubectl, configmap = f"kubectl -n {SYSTEM}", "configmap kube-proxy"
    if not facts.keys >= {"detectLocalMode", "interfaceNamePrefix"}:
        return f"{kubectl} edit {configmap}"
    changes = " ".join(f"-e 's/^( *{key}:).*/\\1 {value}/'" for key, value in values.items())
    return (
        f"conf=$({kubectl} get {configmap} -o jsonpath='{{.data.config\\.conf}}') && test -n \"$conf\" && "
        f"printf '%s\\n' \"$conf\" | sed -E {changes} | "
        f"{kubectl} create {configmap} --from-file=config.conf=/dev/stdin --dry-run=client -o yaml | "
        f"{kubectl} patch {configmap} --patch-file=/dev/stdin && {kubectl} rollout restart daemonset kube-proxy"
    )
