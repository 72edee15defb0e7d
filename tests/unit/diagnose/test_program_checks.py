"""What runs beside azure-cni is set for it, or `check` names what is missing, with the command that sets it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_cni.commands import program_reads, reads
from azure_cni.diagnose import policy_checks, program_checks
from azure_cni.diagnose.check_results import CheckResult
from fakes.cluster_access import FakeClusterAccess
from unit.commands.reference_table import sections
from unit.diagnose.clusters import cluster, pod
from unit.diagnose.programs import agents, checks, configmap, daemon, named, with_objects, wrong

TAINT = "azure-cni.io/no-free-addresses"


def test_where_nothing_runs_beside_it_only_policies_are_looked_for():
    (one,) = checks(cluster(pod()))
    assert (one.code, one.result) == ("PoliciesNotEnforced", CheckResult.GOOD)


def limited(**settings: str) -> FakeClusterAccess:
    body = pod(ip="10.240.0.36", phase="Running")
    body["metadata"]["annotations"] = {"kubernetes.io/egress-bandwidth": "50M"}
    return cluster(body, processes=agents(**settings))


def test_limits_of_traffic_that_nothing_obeys_are_named():
    assert named(limited(CHAIN_BANDWIDTH="true")) == []
    (one,) = wrong(limited(CHAIN_BANDWIDTH="false"))
    assert (one.code, one.result) == ("LimitsIgnored", CheckResult.WARNING)
    assert one.message.endswith(": default/web")
    assert one.command.endswith("--set cni.chainBandwidth=true")


AUTO = "--multus-conf-file=auto"


@pytest.mark.parametrize(
    ("args", "data", "command"),
    [
        ([AUTO, "--multus-master-cni-file-name=10-azure-cni.conflist"], None, None),
        (["--multus-conf-file=/tmp/70-multus.conf"], None, None),
        ([AUTO], None, "--multus-master-cni-file-name=10-azure-cni.conflist"),
        ([AUTO, "--multus-master-cni-file-name", "05-other.conflist"], None, "edit daemonset multus"),
        ([], {"multusConfigFile": "auto", "multusMasterCNI": "10-azure-cni.conflist"}, None),
        ([], {"multusConfigFile": "auto", "clusterNetwork": "/host/etc/cni/net.d/10-azure-cni.conflist"}, None),
        ([], {"multusConfigFile": "auto"}, "edit configmap multus-daemon-config"),
        ([], {"multusConfigFile": "/etc/multus.conf"}, None),
    ],
)
def test_multus_that_does_not_delegate_to_azure_cni_is_named(
    args: list[str], data: dict[str, str] | None, command: str | None
):
    settings = {} if data is None else {"daemon-config.json": json.dumps(data)}
    access = with_objects(cluster(daemon("multus", *args)), configmaps=[configmap("multus-daemon-config", **settings)])
    found = wrong(access)
    assert [one.code for one in found] == ([] if command is None else ["MultusSettings"])
    assert all(command is not None and command in one.command for one in found)


def autoscaler(*args: str, **changes: Any) -> FakeClusterAccess:
    words = ["./cluster-autoscaler", "--cloud-provider=azure", *args]
    body = daemon("cluster-autoscaler", host=False, kind="ReplicaSet", owner="ca-5d4f8c7b9", **changes)
    body["spec"]["containers"] = [{"name": "sidecar"}, body["spec"]["containers"][0]]
    if "command" not in changes:
        body["spec"]["containers"][1] = {
            "name": "cluster-autoscaler",
            "image": changes.get("image", ""),
            "command": words,
        }
    return cluster(body)


def test_an_autoscaler_that_does_not_know_the_taint_is_named_with_the_flag_that_is_missing():
    assert named(autoscaler(f"--status-taint={TAINT}")) == []
    assert named(autoscaler("--status-taint", TAINT)) == []
    (one,) = wrong(autoscaler("--status-taint=example.com/other"))
    assert (one.code, one.result) == ("AutoscalerSettings", CheckResult.WARNING)
    start, _, patch = one.command.partition(" -p ")
    assert start == "kubectl -n kube-system patch deployment ca --type=json"
    assert json.loads(patch.strip("'")) == [
        {"op": "add", "path": "/spec/template/spec/containers/1/command/-", "value": f"--status-taint={TAINT}"}
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"args": [f"--startup-taint={TAINT}", f"--status-taint={TAINT}"]}, "as --status-taint instead"),
        ({"args": [f"--ignore-taint={TAINT}"]}, "as --status-taint instead"),
        ({"image": "registry.k8s.io/autoscaling/cluster-autoscaler:v1.28.7"}, "upgrade it to 1.29"),
        ({"command": ["sh", "-c", "./cluster-autoscaler --v=4"]}, f"add --status-taint={TAINT}"),
    ],
)
def test_an_autoscaler_that_a_person_has_to_change(changes: dict[str, Any], said: str):
    (one,) = wrong(autoscaler(*changes.pop("args", ()), **changes))
    assert said in one.do
    assert one.command == "kubectl -n kube-system edit deployment ca"


def nodepool(**lists: list[str]) -> dict[str, Any]:
    spec = {key: [{"key": one, "effect": "NoSchedule"} for one in keys] for key, keys in lists.items()}
    return {"metadata": {"name": "default"}, "spec": {"template": {"spec": spec}}}


def test_karpenter_that_starts_nodes_with_the_taint_is_named():
    karpenter = daemon("karpenter", host=False, kind="ReplicaSet")
    other = with_objects(cluster(karpenter), nodepools=[nodepool(startupTaints=["example.com/x"])])
    assert named(other) == []
    (one,) = wrong(with_objects(cluster(karpenter), nodepools=[nodepool(startupTaints=["x", TAINT, TAINT])]))
    assert (one.code, one.result) == ("KarpenterSettings", CheckResult.WARNING)
    steps = json.loads(one.command.partition(" -p ")[2].strip("'"))
    assert [step["path"].rpartition("/")[2] for step in steps] == ["2", "1"], "from behind, or places change"
    hidden = with_objects(cluster(karpenter), nodepools=[])
    hidden.denied.add(program_reads.NODE_POOLS)
    assert [one.result for one in wrong(hidden)] == [CheckResult.UNKNOWN]


@pytest.mark.parametrize(
    "page", [*(getattr(policy_checks, name) for name in dir(policy_checks) if name.endswith("PAGE")),
             *(getattr(program_checks, name) for name in dir(program_checks) if name.endswith("PAGE"))],
)  # fmt: skip
def test_every_check_leads_to_a_section(page: str):
    path, _, section = page.partition("#")
    assert section in sections(path)


def test_of_what_does_not_run_nothing_is_read():
    access = with_objects(cluster(), policies=[])
    access.denied |= {program_reads.FELIX, program_reads.NODE_POOLS}
    assert program_reads.with_programs(access, reads.read_cluster(access)).unread == ()
