"""The power of each container of the chart, whatever the values say: these keys with these values, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from unit.chart.helm import CHART, WORKLOAD, Refused, render

AGENT = {
    "runAsUser": 0,
    "runAsGroup": 0,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]},
}
OTHERS = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
NOBODY = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
VALUES = {
    "as it is": (),
    "workload identity": (WORKLOAD,),
    "the controller writes": ("nicWriter=controller",),
    "nobody writes": ("nicWriter=none", "controller.enabled=false", "routablePrefixes={10.0.0.0/8}"),
    "without a controller": ("controller.enabled=false",),
    "mode bridge": ("mode=bridge",),
    "metadata for pods": ("imds.allowPods=true",),
    "Docker": ("docker.enabled=true", "docker.engineSocket=/run/docker-engine/docker.sock"),
    "no audit trail": ("audit.enabled=false",),
    "TLS and tokens": ("metrics.tls.enabled=true", "metrics.auth=token"),
    "no policies": ("admission.enabled=false",),
}


def pods(*values: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the spec of each pod, that of `helm test` too."""
    for one in render(*values):
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        elif "template" in one.get("spec", {}):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def test_a_windows_agent_is_a_host_process_with_nothing_that_means_something_on_linux_alone():
    """As the API server demands of a pod with os.name windows."""
    found = dict(pods("windows.enabled=true"))
    spec = found["azure-cni-agent-windows"]
    assert spec["os"] == {"name": "windows"}
    assert spec["securityContext"] == {"windowsOptions": {"hostProcess": True, "runAsUserName": r"NT AUTHORITY\SYSTEM"}}
    (one,) = spec["containers"]
    assert "securityContext" not in one
    assert {"hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys() == set()
    assert [volume for volume in spec.get("volumes", []) if "hostPath" in volume] == []
    assert found.keys() - dict(pods()).keys() == {"azure-cni-agent-windows"}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_each_container_has_exactly_the_power_that_it_needs(values: tuple[str, ...]):
    found = dict(pods(*values))
    assert "azure-cni-agent" in found
    for name, spec in found.items():
        agent = name == "azure-cni-agent"
        runs = [*spec["containers"], *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]
        assert [one["securityContext"] for one in runs] == [AGENT if agent else OTHERS], name
        default = {"seccompProfile": {"type": "RuntimeDefault"}}
        assert spec["securityContext"] == default | ({} if agent else NOBODY), name
        assert {"hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys() == set(), name


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_only_the_agent_sees_directories_of_the_node_and_none_that_is_all_of_it(values: tuple[str, ...]):
    for name, spec in pods(*values):
        paths = {one["hostPath"]["path"] for one in spec.get("volumes", []) if "hostPath" in one}
        assert name == "azure-cni-agent" or not paths
        assert paths & {"/", "/etc", "/run", "/var", "/var/lib", "/var/lib/kubelet", "/usr", "/root", "/home"} == set()


def test_profiles_on_the_node_are_named_for_each_component():
    found = {name: spec["securityContext"]["seccompProfile"] for name, spec in pods("seccomp.localhostProfiles=own/v1")}
    assert found["azure-cni-agent"] == {"type": "Localhost", "localhostProfile": "own/v1/agent.json"}
    others = [profile for name, profile in found.items() if name != "azure-cni-agent"]
    assert others == [{"type": "Localhost", "localhostProfile": "own/v1/controller.json"}] * len(others)
    assert others


@pytest.mark.parametrize("directory", ["/etc", "../up", "a/../b", "a//b", "a/"])
def test_a_directory_that_the_api_server_would_refuse_is_refused(directory: str):
    with pytest.raises(Refused, match="localhostProfiles"):
        render(f"seccomp.localhostProfiles={directory}")


def test_values_of_a_release_that_knew_no_profiles_still_do():
    assert (
        dict(pods("seccomp=null"))["azure-cni-agent"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    )


@pytest.mark.parametrize("component", ["agent", "controller"])
def test_the_profiles_are_in_the_chart_and_refuse_what_they_do_not_name(component: str):
    profile = json.loads((CHART / "files" / "seccomp" / f"{component}.json").read_text())
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]
    whole = {name for rule in profile["syscalls"] if "args" not in rule for name in rule["names"]}
    assert (
        whole & {"mount", "umount2", "unshare", "setns", "clone", "clone3", "bpf", "ptrace", "socket", "keyctl"}
        == set()
    )
