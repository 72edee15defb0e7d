"""The pods of `helm test`: what the first runs is run here, before a listener on the loopback; the second's rights."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from azure_cni.diagnose.network_lab import IMAGE
from azure_cni.entrypoints.cli import main
from simulation.ports import free_ports
from unit.chart.helm import CHART, Refused, of_kind, render, rights

ELSEWHERE = "192.0.2.1"


def pod(*values: str) -> dict:
    return of_kind("Pod", *values, name="azure-cni-test")


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(port: int, *, pod_ip: str, node_ip: str) -> subprocess.CompletedProcess[str]:
    _, *arguments = pod()["spec"]["containers"][0]["command"]
    env = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
        "POD_IP": pod_ip,
        "NODE_IP": node_ip,
        "NODE_NAME": "vm1",
    }
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | env, capture_output=True, text=True, check=False
    )


def test_it_is_run_by_helm_test_and_by_nothing_else():
    assert pod()["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "hostNetwork" not in pod()["spec"]


def test_it_needs_no_image_but_the_charts_own():
    values = ("image.repository=registry.local/cni", "image.tag=next", "image.pullPolicy=Never")
    (container,) = pod(*values)["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("registry.local/cni:next", "Never")


def test_it_says_its_address_when_the_api_server_answers(port: int):
    done = run(port, pod_ip="127.0.0.1", node_ip=ELSEWHERE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"pod 127.0.0.1 on vm1 reaches the API server at 127.0.0.1:{port}\n"


def test_it_fails_when_its_traffic_leaves_with_another_address(port: int):
    done = run(port, pod_ip=ELSEWHERE, node_ip=ELSEWHERE)
    assert done.returncode == 1
    assert f"the pod has {ELSEWHERE} and left as 127.0.0.1" in done.stderr


def test_it_fails_when_the_pod_has_the_nodes_address(port: int):
    assert run(port, pod_ip="127.0.0.1", node_ip="127.0.0.1").returncode == 1


def test_it_fails_when_nobody_answers(port: int):
    (silent,) = free_ports(1)
    assert run(silent, pod_ip="127.0.0.1", node_ip=ELSEWHERE).returncode == 1


NETWORK = "azure-cni-test-network"
HOOK = "helm.sh/hook"


def of_the_network_test(*values: str, namespace: str = "kube-system") -> list[dict[str, Any]]:
    """All objects of the second pod, in the order in which helm makes them."""
    found = [one for one in render(*values, namespace=namespace) if one["metadata"]["name"] == NETWORK]
    return sorted(found, key=lambda one: int(one["metadata"]["annotations"][f"{HOOK}-weight"]))


def policies(manifest: dict[str, Any]) -> set[str]:
    return set(manifest["metadata"]["annotations"][f"{HOOK}-delete-policy"].split(","))


def test_the_network_test_comes_after_what_it_needs_and_after_the_first_pod():
    *before, last = of_the_network_test()
    assert last["kind"] == "Pod"
    assert {one["metadata"]["annotations"][HOOK] for one in (*before, last)} == {"test"}
    weights = {one["kind"]: int(one["metadata"]["annotations"][f"{HOOK}-weight"]) for one in (*before, last)}
    assert weights["Pod"] > max(weights["RoleBinding"], weights["ClusterRoleBinding"])
    assert min(weights["RoleBinding"], weights["ClusterRoleBinding"]) > max(weights["Namespace"], weights["Role"])
    assert min(weights.values()) > int(pod()["metadata"]["annotations"].get(f"{HOOK}-weight", "0"))


def test_all_rights_are_made_for_one_test_and_removed_after_it():
    """By helm also when a later hook failed: what has `hook-succeeded` (its pkg/action/hooks.go). The log stays."""
    *made, last = of_the_network_test()
    assert {one["kind"] for one in made} == {
        "Namespace", "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding",
    }  # fmt: skip
    assert [policies(one) for one in made] == [{"before-hook-creation", "hook-succeeded"}] * len(made)
    assert policies(last) == {"before-hook-creation"}
    bound = [one for one in render() if any(who["name"] == NETWORK for who in one.get("subjects", []))]
    assert [one["metadata"]["annotations"][HOOK] for one in bound] == ["test"] * 3


def test_the_network_test_may_make_pods_and_run_commands_in_its_own_namespace_only():
    objects = of_the_network_test(namespace="network-system")
    assert rights(next(one for one in objects if one["kind"] == "ClusterRole")) == {
        ("", "nodes"): ["list"], ("azure-cni.io", "nodeippools"): ["list"], ("", "services"): ["get"],
    }  # fmt: skip
    (dns,) = [
        rule
        for one in objects
        if one["kind"] == "ClusterRole"
        for rule in one["rules"]
        if rule["resources"] == ["services"]
    ]
    assert dns["resourceNames"] == ["kube-dns"]
    (role,) = [one for one in objects if one["kind"] == "Role"]
    assert (role["metadata"]["namespace"], rights(role)) == ("network-system", {("", "pods"): ["list"]})
    bindings = {
        one["metadata"].get("namespace", ""): (one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in objects
        if one["kind"].endswith("Binding")
    }
    assert bindings == {
        "": ("ClusterRole", NETWORK), "network-system": ("Role", NETWORK), NETWORK: ("ClusterRole", "azure-cni-test"),
    }  # fmt: skip
    subjects = [one["subjects"] for one in objects if "subjects" in one]
    assert subjects == [[{"kind": "ServiceAccount", "name": NETWORK, "namespace": "network-system"}]] * 3
    (namespace,) = [one for one in objects if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_network_test_runs_the_command_with_flags_that_it_has():
    values = ("image.repository=registry.local/cni", "image.tag=next", "helmTest.image=registry.local/agnhost:1")
    spec = of_the_network_test(*values, namespace="network-system")[-1]["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == (NETWORK, True)
    assert "hostNetwork" not in spec
    (container,) = spec["containers"]
    assert (container["image"], container.get("command")) == ("registry.local/cni:next", None)
    assert container["args"] == [
        "test", f"--namespace={NETWORK}", "--system-namespace=network-system", "--image=registry.local/agnhost:1",
    ]  # fmt: skip
    command, *flags = container["args"]
    parsed = main.commands.get(command) or main.get_command(None, command)  # type: ignore[arg-type]
    assert parsed is not None
    found = parsed.make_context(command, flags).params
    assert (found["namespace"], found["image"]) == (NETWORK, "registry.local/agnhost:1")


def test_without_an_image_for_its_pods_there_is_no_network_test_and_the_first_stays():
    assert of_the_network_test("helmTest.image=") == []
    assert pod("helmTest.image=")["metadata"]["annotations"][HOOK] == "test"
    with pytest.raises(Refused, match="helmTest"):
        render("helmTest.image=two words")


def test_the_image_by_default_is_that_of_the_command():
    assert yaml.safe_load((CHART / "values.yaml").read_text())["helmTest"]["image"] == IMAGE
