"""How kube-proxy and controller managers are set: each mistake is found, and the command that is named mends it.

The commands run in a real shell, with a `kubectl` that reads and writes a file as the API server keeps it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from azure_cni.commands import reads
from azure_cni.commands.reads import KUBE_PROXY
from azure_cni.diagnose.check_results import CheckResult, ClusterCheck
from azure_cni.diagnose.checks import check_before
from azure_cni.diagnose.settings_checks import MANIFESTS
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import cluster, pod, pool

CONFIGMAPS = "/api/v1/configmaps"
ROUTES = ["--allocate-node-cidrs=true", "--configure-cloud-routes=true"]
KUBECTL = """#!/bin/sh
case "$*" in
*" get "*) cat "$OBJECT";;
*" create "*) cat;;
*replace*|*patch*) cat > "$OBJECT.new" && mv "$OBJECT.new" "$OBJECT";;
*) echo "$*" >> "$OBJECT.ran";;
esac
"""
"""Of a ConfigMap only the text in question goes through: how the real one shows it, a contract test looks at."""


def settings(cidr: str = "", mode: str = "", prefix: str = "") -> dict[str, Any]:
    """As kubeadm writes them."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clusterCIDR": cidr,
        "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": prefix},
        "detectLocalMode": mode,
        "kind": "KubeProxyConfiguration",
    }


def with_kube_proxy(text: str, **changes: Any) -> FakeClusterAccess:
    access = cluster(**changes)
    access.objects[CONFIGMAPS] = [
        {"metadata": {"namespace": "kube-system", "name": "kube-proxy"}, "data": {"config.conf": text}}
    ]
    return access


def named(access: FakeClusterAccess, code: str) -> list[ClusterCheck]:
    found = check_before(reads.read_cluster(access, settings=True))
    return [one for one in found if one.code == code and one.result is not CheckResult.GOOD]


def run(command: str, directory: Path, content: str) -> str:
    """What the object is afterwards."""
    program, kept = directory / "kubectl", directory / "object.yaml"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    kept.write_text(content)
    path = {"PATH": f"{directory}:{os.environ['PATH']}", "OBJECT": str(kept)}
    subprocess.run(["bash", "-e", "-o", "pipefail", "-c", command], check=True, env=os.environ | path)
    return kept.read_text()


@pytest.mark.parametrize(
    ("changes", "result", "words"),
    [
        ({"cidr": "10.244.0.0/16"}, CheckResult.WARNING, "clusterCIDR 10.244.0.0/16"),
        ({"cidr": "10.244.0.0/16", "mode": "ClusterCIDR"}, CheckResult.WARNING, "clusterCIDR 10.244.0.0/16"),
        ({"mode": "NodeCIDR"}, CheckResult.BAD, "waits for a podCIDR"),
        ({"mode": "InterfaceNamePrefix", "prefix": "cali"}, CheckResult.WARNING, "cali*"),
        ({"mode": "InterfaceNamePrefix"}, CheckResult.WARNING, "without a name"),
        ({"mode": "BridgeInterface"}, CheckResult.WARNING, "detectLocalMode BridgeInterface"),
        ({}, CheckResult.WARNING, "does not recognise pods"),
    ],
)
def test_each_mistake_of_kube_proxy_is_found_and_mended(
    tmp_path: Path, changes: dict[str, str], result: CheckResult, words: str
):
    text = yaml.safe_dump(settings(**changes))
    (found,) = named(with_kube_proxy(text), "KubeProxy")
    assert (found.result, found.node) == (result, "")
    assert words in found.message
    mended = run(found.command, tmp_path, text)
    assert yaml.safe_load(mended) == settings(mode="InterfaceNamePrefix", prefix="acni")
    assert named(with_kube_proxy(mended), "KubeProxy") == []
    assert "rollout restart daemonset kube-proxy" in (tmp_path / "object.yaml.ran").read_text()


def test_the_names_of_interfaces_are_those_of_the_nodes_mode():
    text = yaml.safe_dump(settings(mode="InterfaceNamePrefix", prefix="acni"))
    (found,) = named(with_kube_proxy(text, pools=[pool(mode="bridge")]), "KubeProxy")
    assert "interfaceNamePrefix:).*/\\1 azure0/" in found.command
    bridge = yaml.safe_dump(settings(mode="InterfaceNamePrefix", prefix="azure0"))
    assert named(with_kube_proxy(bridge, pools=[pool(mode="bridge")]), "KubeProxy") == []
    assert named(with_kube_proxy(bridge, pools=[]), "KubeProxy") == [], "nobody knows the mode before the install"
    (before,) = named(with_kube_proxy(yaml.safe_dump(settings()), pools=[]), "KubeProxy")
    assert "interfaceNamePrefix:).*/\\1 acni/" in before.command


@pytest.mark.parametrize(
    "text",
    [
        "kind: KubeProxyConfiguration\n",
        json.dumps(settings()),
        "detectLocal: {interfaceNamePrefix: x}\ndetectLocalMode:\n",
    ],
    ids=["absent", "JSON", "within a line"],
)
def test_settings_whose_keys_have_no_line_are_for_a_person_to_add(text: str):
    (found,) = named(with_kube_proxy(text), "KubeProxy")
    assert found.command == "kubectl -n kube-system edit configmap kube-proxy"
    assert "detectLocalMode: InterfaceNamePrefix, interfaceNamePrefix: acni" in found.do


def test_settings_that_cannot_be_read_again_are_left_as_they_are(tmp_path: Path):
    (found,) = named(with_kube_proxy(yaml.safe_dump(settings())), "KubeProxy")
    with pytest.raises(subprocess.CalledProcessError):
        run(found.command, tmp_path, "")
    assert not (tmp_path / "object.yaml.ran").exists()


@pytest.mark.parametrize("text", ["{", "a: 1\n---\nb: 2\n", ""])
def test_settings_that_cannot_be_read_are_not_good(text: str):
    (found,) = named(with_kube_proxy(text), "KubeProxy")
    assert found.result is CheckResult.UNKNOWN


def test_settings_that_nobody_may_read_are_not_good_and_without_any_nothing_is_said():
    access = with_kube_proxy("")
    access.denied.add(KUBE_PROXY)
    assert [one.result for one in named(access, "KubeProxy")] == [CheckResult.UNKNOWN]
    assert "KubeProxy" not in {one.code for one in check_before(reads.read_cluster(cluster(), settings=True))}


def manager(name: str, kind: str, owner: str, *, flags: list[str], namespace: str = "kube-system") -> dict[str, Any]:
    body = pod(name, node="vm1", ip="10.240.0.4", phase="Running", host=True)
    body["metadata"] |= {
        "namespace": namespace,
        "ownerReferences": [{"kind": kind, "name": owner, "controller": True}],
    }
    body["spec"]["containers"] = [{"command": ["manager", "--leader-elect=true"], "args": flags}]
    return body


@pytest.mark.parametrize(
    ("kind", "owner", "what"),
    [
        ("ReplicaSet", "cloud-controller-manager-5d4f8c7b9", "deployment cloud-controller-manager"),
        ("DaemonSet", "cloud-controller-manager", "daemonset cloud-controller-manager"),
    ],
)
def test_a_manager_that_makes_routes_is_found_and_mended(tmp_path: Path, kind: str, owner: str, what: str):
    (found,) = named(cluster(manager("ccm-abcde", kind, owner, flags=ROUTES)), "PodRanges")
    assert (found.result, found.node) == (CheckResult.WARNING, "")
    assert f"get {what} -o yaml" in found.command
    mended = run(found.command, tmp_path, yaml.safe_dump({"args": [*ROUTES, "--v=2"]}))
    assert yaml.safe_load(mended)["args"] == [*(flag.replace("true", "false") for flag in ROUTES), "--v=2"]


@pytest.mark.parametrize(
    "written", [["--allocate-node-cidrs"], ["--allocate-node-cidrs=True"], ["--allocate-node-cidrs=1", "--v=2"]]
)
def test_a_flag_is_set_in_each_way_that_go_takes_for_true(tmp_path: Path, written: list[str]):
    (found,) = named(cluster(manager("ccm", "DaemonSet", "ccm", flags=written)), "PodRanges")
    mended = yaml.safe_load(run(found.command, tmp_path, yaml.safe_dump(written)))
    assert mended == ["--allocate-node-cidrs=false", *written[1:]]
    assert named(cluster(manager("ccm", "DaemonSet", "ccm", flags=mended)), "PodRanges") == []


def test_a_flag_in_the_line_of_a_shell_is_found():
    line = "exec kube-controller-manager --allocate-node-cidrs=true --v=2"
    (found,) = named(cluster(manager("ccm", "DaemonSet", "ccm", flags=["sh", "-c", line])), "PodRanges")
    assert "--allocate-node-cidrs=true" in found.message


def test_a_static_pod_is_mended_on_its_node(tmp_path: Path):
    body = manager("kube-controller-manager-vm1", "Node", "vm1", flags=ROUTES[:1])
    (found,) = named(cluster(body), "PodRanges")
    assert found.node == "vm1"
    manifest = tmp_path / "kube-controller-manager.yaml"
    manifest.write_text(yaml.safe_dump({"command": [*ROUTES]}))
    subprocess.run(["sh", "-c", found.command.replace(MANIFESTS, str(tmp_path))], check=True)
    assert yaml.safe_load(manifest.read_text())["command"] == ["--allocate-node-cidrs=false", ROUTES[1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": ["--allocate-node-cidrs=false", "--configure-cloud-routes=false"]},
        {"flags": ["--allocate-node-cidrs=true", "--allocate-node-cidrs=false"]},  # the last one counts
        {"flags": ["--allocate-node-cidrs-of=true", "--configure-cloud-routes="]},
        {"flags": ROUTES, "namespace": "shop"},  # anybody's pod
    ],
)
def test_what_makes_no_routes_is_none(changes: dict[str, Any]):
    assert named(cluster(manager("ccm", "DaemonSet", "ccm", **changes)), "PodRanges") == []
