"""Whether NetworkPolicies are enforced, and whether the engine that does so and azure-cni are set for each other.

What each engine asks is in docs/works-beside.md, "Network policy".
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from azure_cni.api.reading import mappings, text
from azure_cni.diagnose.causes import UNCHAIN, in_words
from azure_cni.diagnose.check_results import CheckResult, ClusterCheck, SettingFault, fault_checks, unknown_check
from azure_cni.diagnose.component_settings import FALSE
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.other_programs import EXTRA_PLUGINS, LINK_NAMES, OtherProgram, Program
from azure_cni.diagnose.settings_checks import PREFIXES
from azure_cni.model.identity import LinkNames, ModeName
from azure_cni.model.text import NOT_JSON, few, legible

PAGE: Final = "docs/works-beside.md#network-policy"
ENGINE_PAGE: Final = "docs/works-beside.md#kube-network-policies"
CALICO_PAGE: Final = "docs/works-beside.md#calico"
PLUGINS_PAGE: Final = "docs/works-beside.md#plugins-of-other-tools"
ENFORCING: Final = (Program.ENGINE, Program.CALICO, Program.CILIUM, Program.ROUTER)
CILIUM_ENTRY: Final = {"type": "cilium-cni", "chaining-mode": "generic-veth"}
CHAINING, OWN_CONFLIST, ENFORCEMENT = "cni-chaining-mode", "write-cni-conf-when-ready", "enable-policy"
"""Of Cilium's ConfigMap."""
PREFIX: Final = PREFIXES[ModeName.TRANSPARENT]
VARIABLE: Final = "FELIX_INTERFACEPREFIX"
PRIORITY: Final = "system-node-critical"
_HAS_RUN: Final = frozenset({"Running", "CrashLoopBackOff"})
"""States of a pod in which its log says why it is not ready; a container that never started has none."""
IF_MADE: Final = "if an operator or a chart made it, set it there too"


def check_policies(evidence: ClusterEvidence) -> list[ClusterCheck]:
    """All of them. An engine that does not run here has no check of its own."""
    found = [check_enforced(evidence)]
    if evidence.programs(Program.ENGINE):
        well = "kube-network-policies runs, and nothing is known to keep its rules out"
        found += fault_checks("PolicyEngine", ENGINE_PAGE, well, _of_engine(evidence))
    if is_beside(evidence, Program.CALICO):
        checks = fault_checks("CalicoSettings", CALICO_PAGE, "Calico finds the links of pods", _of_calico(evidence))
        found += unless_unread(evidence, "felixConfiguration", checks)
    if is_beside(evidence, Program.CILIUM):
        well = "Cilium is called after azure-cni"
        checks = fault_checks("CiliumSettings", PLUGINS_PAGE, well, _of_cilium(evidence))
        found += unless_unread(evidence, "cilium-config", checks)
    return found


def unless_unread(evidence: ClusterEvidence, what: str, checks: list[ClusterCheck]) -> list[ClusterCheck]:
    """The same checks: what looks good is not known to be, where these settings could not be read."""
    if evidence.knows(what):
        return checks
    return [unknown_check(one, what) if one.result is CheckResult.GOOD else one for one in checks]


def is_beside(evidence: ClusterEvidence, program: Program) -> bool:
    """Whether that engine is here to enforce policies on azure-cni's pods, by a setting of one side at least.

    Else it is a network plugin of its own, as while a cluster changes over.
    """
    pods = evidence.programs(program)
    if not pods:
        return False
    if program is Program.CALICO:
        by_links = evidence.agent_setting(LINK_NAMES) == LinkNames.CALICO or PREFIX in (_prefixes(evidence) or ())
        return by_links or pods[0].env.get("CALICO_NETWORKING_BACKEND") == "none"
    if program is Program.CILIUM:
        return _chaining_mode(evidence) == CILIUM_ENTRY["chaining-mode"] or _calls_cilium(evidence)
    return program is Program.ENGINE or "false" in pods[0].values("run-router")


def check_enforced(evidence: ClusterEvidence) -> ClusterCheck:
    """Whether something enforces the NetworkPolicies that are here."""
    code, policies = "PoliciesNotEnforced", evidence.beside.policies
    good = ClusterCheck("cluster", code, CheckResult.GOOD, "no NetworkPolicy is without an engine", page=PAGE)
    for kind in ("pods", "networkPolicies"):
        if not evidence.knows(kind):
            return unknown_check(good, kind)
    if not policies or any(_enforces(evidence, program) for program in ENFORCING):
        return good
    message = f"nothing enforces the NetworkPolicies that are here; no engine for them is seen: {few(policies)}"
    do, command = "run an engine; the chart brings one", upgraded(evidence, "networkPolicy.enabled=true")
    return ClusterCheck("cluster", code, CheckResult.WARNING, message, do, PAGE, command)


def _enforces(evidence: ClusterEvidence, program: Program) -> bool:
    """Whether it runs, and has not been told to leave policies alone."""
    pods = evidence.programs(program)
    if program is Program.ROUTER:
        return any(not FALSE.intersection(one.values("run-firewall")[-1:]) for one in pods)
    if program is Program.CILIUM:
        return bool(pods) and text((evidence.beside.cilium or {}).get(ENFORCEMENT)) != "never"
    return bool(pods)


def upgraded(evidence: ClusterEvidence, setting: str) -> str:
    """The command that gives azure-cni's chart this value."""
    return in_words(UNCHAIN, system=evidence.system, setting=setting)


def _of_engine(evidence: ClusterEvidence) -> Iterator[SettingFault]:
    pods = evidence.programs(Program.ENGINE)
    opens = not FALSE.intersection(pods[0].values("fail-open")[-1:])  # as upstream, by default
    passes = "new connections pass unjudged" if opens else "new connections of pods that a policy selects may not pass"
    for pod in pods:
        if fault := evidence.beside.engine_faults.get(pod.node, ""):
            message = f"no policy is enforced on {pod.node}: the kernel refuses the engine's rules or queue ({fault})"
            do = "load the modules; where there are none, install those of the kernel, or use another one"
            yield SettingFault(message, do, "modprobe -a nft_queue nfnetlink_queue", node=pod.node)
        elif not pod.ready:
            message = f"{pod.program} is not ready on {pod.node} ({pod.state}), so {passes} there"
            verb = "logs" if pod.state in _HAS_RUN else "describe pod"
            yield SettingFault(message, "read why", f"kubectl -n {pod.namespace} {verb} {pod.pod}")
    others = [pod.node for pod in pods if pod.priority != PRIORITY]
    if others:
        message = f"the engine may be ended before other pods where a node is short of memory or disk: {few(others)}"
        patch = f'{{"spec":{{"template":{{"spec":{{"priorityClassName":"{PRIORITY}"}}}}}}}}'
        yield SettingFault(
            message, f"give it {PRIORITY}; {IF_MADE}", patched(pods[0], patch, kind="strategic"), CheckResult.WARNING
        )
    bare = sorted({node.name for node in evidence.nodes if node.linux and node.ready} - {pod.node for pod in pods})
    if bare:
        message = f"no engine runs there, so no policy holds for pods of these nodes: {few(bare)}"
        yield SettingFault(message, "let it run there: look at its nodeSelector and its tolerations", describe(pods[0]))


def patched(one: OtherProgram, patch: str, *, kind: str = "json") -> str:
    """The command that changes its workload."""
    what, name = one.workload
    return f"kubectl -n {one.namespace} patch {what.lower()} {shlex.quote(name)} --type={kind} -p '{patch}'"


def describe(one: OtherProgram) -> str:
    """The command that shows its workload."""
    return f"kubectl -n {one.namespace} describe {one.workload[0].lower()} {shlex.quote(one.workload[1])}"


def _prefixes(evidence: ClusterEvidence) -> Sequence[str] | None:
    """By which Calico knows links of pods; None where that is not visible. A variable goes before the object."""
    env, felix = evidence.programs(Program.CALICO)[0].env, evidence.beside.felix
    if VARIABLE in env:
        return env[VARIABLE].split(",") if env[VARIABLE] else None
    if not evidence.knows("felixConfiguration"):
        return None
    return (text((felix or {}).get("interfacePrefix")) or "cali").split(",")


def _naming_prefix(one: OtherProgram) -> str:
    """With what the names begin by which this process looks for pods' links; "" where that is not visible.

    It is the first of the variable's, or Calico's own. FelixConfiguration's `interfacePrefix` does not count there
    (libcalico-go, `VethNameForWorkload`). Where there is Typha, it makes the names.
    """
    return one.env.get(VARIABLE, "cali").split(",")[0]


def _of_calico(evidence: ClusterEvidence) -> Iterator[SettingFault]:
    pod = evidence.programs(Program.CALICO)[0]
    setting = f"kubectl -n {pod.namespace} set env daemonset/{shlex.quote(pod.workload[1])}"
    if evidence.agents and evidence.agent_setting(LINK_NAMES) != LinkNames.CALICO:
        message = "pods' links do not have the names by which Calico finds them, so its policies hold for no pod"
        do = "set linkNames: calico, and restart pods that run"
        yield SettingFault(message, do, upgraded(evidence, f"linkNames={LinkNames.CALICO}"))
    for one in (pod, *evidence.programs(Program.TYPHA)[:1]):
        prefix = _naming_prefix(one)
        if prefix not in {"", PREFIX}:
            message = f"{one.program} looks for links {legible(prefix)}*, and those of pods are {PREFIX}*"
            what = f"{one.workload[0].lower()}/{shlex.quote(one.workload[1])}"
            command = f"kubectl -n {one.namespace} set env {what} {VARIABLE}={PREFIX}"
            yield SettingFault(message, f"set {VARIABLE}, there too where an object says so; {IF_MADE}", command)
    bridges = [pool.name for pool in evidence.pools if pool.mode is ModeName.BRIDGE]
    if bridges:
        message = f"in mode bridge Calico sees no link of a pod, and its policies do not hold: {few(bridges)}"
        patch = """kubectl patch nodeippool NODE --type=merge -p '{"spec":{"mode":"transparent"}}'"""
        commands = "; ".join(in_words(patch, node=name) for name in bridges)
        yield SettingFault(message, "change these nodes to mode transparent", commands)
    yield from _of_routes(evidence, pod, setting)


def _of_routes(evidence: ClusterEvidence, pod: OtherProgram, setting: str) -> Iterator[SettingFault]:
    """Whether Calico removes routes that it has not made. It does unless that is turned off."""
    variable, field = "FELIX_REMOVEEXTERNALROUTES", "removeExternalRoutes"
    if variable in pod.env:
        removes = pod.env[variable].lower() in {"true", "1", "yes", "y", "t"}
    else:
        removes = evidence.knows("felixConfiguration") and (evidence.beside.felix or {}).get(field) is not False
    if not removes:
        return
    by_object = variable not in pod.env and evidence.beside.felix is not None
    patch = f"""kubectl patch felixconfiguration default --type=merge -p '{{"spec":{{"{field}":false}}}}'"""
    message = "Calico removes the routes to pods, and the agent restores them, by turns (removeExternalRoutes)"
    yield SettingFault(message, f"set it to false; {IF_MADE}", patch if by_object else f"{setting} {variable}=false")


def extra_plugins(evidence: ClusterEvidence) -> list[Mapping[str, Any]]:
    """The entries of `cni.extraPlugins`."""
    try:
        return list(mappings(msgspec.json.decode(evidence.agent_setting(EXTRA_PLUGINS, "[]"))))
    except NOT_JSON:
        return []


def with_extra_plugins(evidence: ClusterEvidence, entries: Sequence[Mapping[str, Any]]) -> str:
    """The command that gives azure-cni's chart these for `cni.extraPlugins`."""
    value = shlex.quote(f"cni.extraPlugins={msgspec.json.encode(entries).decode()}")
    return in_words(UNCHAIN.replace("--set ", "--set-json "), system=evidence.system, setting=value)


def _calls_cilium(evidence: ClusterEvidence) -> bool:
    return any(one.get("type") == CILIUM_ENTRY["type"] for one in extra_plugins(evidence))


def _chaining_mode(evidence: ClusterEvidence) -> str:
    """Of Cilium, by its ConfigMap; "" where it is not known."""
    return text((evidence.beside.cilium or {}).get(CHAINING))


def _of_cilium(evidence: ClusterEvidence) -> Iterator[SettingFault]:
    pod, found = evidence.programs(Program.CILIUM)[0], evidence.beside.cilium
    kubectl = f"kubectl -n {pod.namespace}"
    restart = f"{kubectl} rollout restart daemonset {shlex.quote(pod.workload[1])}"
    if evidence.agents and not _calls_cilium(evidence):
        command = with_extra_plugins(evidence, [*extra_plugins(evidence), CILIUM_ENTRY])
        yield SettingFault("Cilium's plugin is called for no pod, so its policies hold for none", "add it", command)
    if found is None:
        return
    if _chaining_mode(evidence) != CILIUM_ENTRY["chaining-mode"]:
        message = f"Cilium is called after azure-cni, and has {CHAINING} {_chaining_mode(evidence) or 'unset'}"
        patch = f'{{"data":{{"{CHAINING}":"{CILIUM_ENTRY["chaining-mode"]}"}}}}'
        command = f"{kubectl} patch configmap cilium-config --type=merge -p '{patch}' && {restart}"
        yield SettingFault(message, "set cni.chainingMode: generic-veth of its chart", command)
    if found.get(OWN_CONFLIST):
        message = f"Cilium writes a conflist of its own ({legible(text(found[OWN_CONFLIST]))}), which may come first"
        patch = f'[{{"op":"remove","path":"/data/{OWN_CONFLIST}"}}]'
        command = f"{kubectl} patch configmap cilium-config --type=json -p '{patch}' && {restart}"
        yield SettingFault(message, "set cni.customConf: true of its chart", command)
