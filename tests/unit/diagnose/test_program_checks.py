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


def test_limits_that_an_entry_of_the_user_s_own_obeys_are_none_to_name():
    """The chart refuses the plugin twice, so `cni.chainBandwidth` cannot be what is missing."""
    entry = {"type": "bandwidth", "capabilities": {"bandwidth": True}, "shapedSubnets": ["10.0.0.0/8"]}
    assert named(limited(EXTRA_PLUGINS=json.dumps([entry]))) == []
    (one,) = wrong(limited(EXTRA_PLUGINS='[{"type":"tuning"},{"type":"bandwidth","capabilities":{"x":true}}]'))
    value = one.command.partition("--set-json 'cni.extraPlugins=")[2].removesuffix("'")
    declared = {"type": "bandwidth", "capabilities": {"x": True, "bandwidth": True}}
    assert (one.code, json.loads(value)) == ("LimitsIgnored", [{"type": "tuning"}, declared])


def test_a_pod_on_the_node_s_network_has_no_link_that_could_be_limited():
    body = pod(ip="10.240.0.4", phase="Running", host=True)
    body["metadata"]["annotations"] = {"kubernetes.io/egress-bandwidth": "50M"}
    assert named(cluster(body, processes=agents(CHAIN_BANDWIDTH="false"))) == []


AUTO = "--multus-conf-file=auto"


@pytest.mark.parametrize(
    ("args", "data", "command"),
    [
        ([AUTO, "--multus-master-cni-file-name=10-azure-cni.conflist"], None, None),
        (["--multus-conf-file=/tmp/70-multus.conf"], None, None),
        ([AUTO], None, "--multus-master-cni-file-name=10-azure-cni.conflist"),
        ([AUTO, "--multus-master-cni-file-name", "05-other.conflist"], None, "edit daemonset multus"),
        ([], {"multusConfigFile": "auto", "multusMasterCNI": "10-azure-cni.conflist"}, None),
        ([AUTO, "--multus-master-cni-file-name=10-azure-cni.conflist.bak"], None, "edit daemonset multus"),
        (["/thin_entrypoint"], None, "--multus-master-cni-file-name=10-azure-cni.conflist"),
        ([], {"multusMasterCNI": "110-azure-cni.conflist"}, "edit configmap multus-daemon-config"),
        ([], {"multusMasterCNI": "10-azure-cni.conflist", "clusterNetwork": "/x/05-other.conflist"}, None),
        # The daemon puts what it has found in place of that.
        ([], {"multusConfigFile": "auto", "clusterNetwork": "/host/etc/cni/net.d/10-azure-cni.conflist"}, "edit conf"),
        ([], {}, "edit configmap multus-daemon-config"),
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
    assert named(autoscaler("--status-taint=example.com/other", f"--status-taint={TAINT}")) == []
    assert named(autoscaler(f"--status_taint={TAINT}")) == [], "pflag takes both"
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


@pytest.mark.parametrize(
    "line",
    [
        f"./cluster-autoscaler --v=4 '--status-taint={TAINT}'",
        f'./cluster-autoscaler --status-taint="{TAINT}" 1>>/var/log/ca.log',
        f"TAINT=x ./cluster-autoscaler --status-taint={TAINT} # it's full",
        "./cluster-autoscaler --status-taint=${TAINT} --v=4",
        "./cluster-autoscaler --status-taint=$TAINT",
        "./cluster-autoscaler --status-taint=$(TAINT)",
    ],
)
def test_a_flag_in_a_shell_s_line_is_read_as_the_shell_reads_it(line: str):
    env = [{"name": "TAINT", "value": TAINT}]
    assert named(in_shell(line, env)) == []
    assert named(in_shell(line.replace("status-taint", "startup-taint"), env)) == ["AutoscalerSettings"]


def in_shell(line: str, env: list[dict[str, Any]]) -> FakeClusterAccess:
    body = daemon("cluster-autoscaler", line, command=["/bin/sh", "-ec"], env=env, host=False, kind="ReplicaSet")
    return cluster(body)


def test_a_flag_whose_value_is_elsewhere_is_not_known():
    hidden = {"name": "TAINT", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}
    body = daemon("cluster-autoscaler", "--status-taint=$(TAINT)", env=[hidden], host=False, kind="ReplicaSet")
    (one,) = wrong(cluster(body))
    assert (one.code, one.result) == ("AutoscalerSettings", CheckResult.UNKNOWN)
    assert "$(TAINT)" in one.message


def test_replicas_are_one_fault_and_pods_that_have_ended_none():
    one, other, ended = (daemon("cluster-autoscaler", host=False, kind="ReplicaSet", owner="ca-5d4") for _ in range(3))
    other["metadata"]["name"], ended["metadata"]["name"] = "ca-y", "ca-z"
    ended["status"]["phase"] = "Failed"
    assert named(cluster(one, other)) == ["AutoscalerSettings"]
    assert named(cluster(ended)) == []


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
