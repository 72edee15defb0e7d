"""kube-network-policies as an option of the chart: objects, settings, and its rules beside azure-cni's."""

import re
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.datapath.leaving import Ways
from azure_cni.datapath.node_table import ruleset
from azure_cni.model.identity import ModeName
from unit.chart.helm import REPOSITORY, Refused, render, template
from unit.datapath.test_node_table import TABLE

TRIED = next(
    version
    for line in (REPOSITORY / "e2e/azurebox/tools/policy/go.mod").read_text().splitlines()
    for name, version in [line.strip().partition(" ")[::2]]
    if name == "sigs.k8s.io/kube-network-policies"
)
"""The release whose engine `tests/datapath/test_beside_policy*.py` run. The chart's image is the same."""
ON = "networkPolicy.enabled=true"
RAW, FILTER, DSTNAT, SRCNAT = -300, 0, -100, 100
"""Of nftables (nft(8), hooks by priority)."""
ENGINE = {"postrouting": SRCNAT - 5, "input": SRCNAT + 1, "prerouting": DSTNAT + 5}
"""Of the engine's chains (kube-network-policies, pkg/dataplane/controller.go, syncNFTablesRules)."""


def objects(*values: str) -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in render(*values) if one["metadata"]["name"] == "azure-cni-network-policy"}


def arguments(*values: str) -> list[str]:
    (container,) = objects(ON, *values)["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    return [container["image"], *container["args"]]


def test_the_documentation_says_which_release_was_tried() -> None:
    assert f"parser of packets ({TRIED})" in (REPOSITORY / "docs/works-beside.md").read_text()


def test_nothing_of_it_is_there_unless_it_is_asked_for() -> None:
    assert objects() == {}
    assert "network-policy" not in template()
    assert set(objects(ON)) == {"ClusterRole", "ClusterRoleBinding", "ServiceAccount", "DaemonSet"}


def test_its_settings_are_the_chart_s_values() -> None:
    image, program, *flags = arguments()
    assert (image, program) == (f"registry.k8s.io/networking/kube-network-policies:{TRIED}", "/bin/netpol")
    assert flags == [
        "--hostname-override=$(NODE_NAME)",
        "--fail-open=false",
        "--strict-mode=true",
        "--nfqueue-id=98",
        "--metrics-bind-address=127.0.0.1:9080",
    ]
    chosen = "networkPolicy.failOpen=true,networkPolicy.queue=7,networkPolicy.extraArgs={--v=4,--disable-nri}"
    assert {"--fail-open=true", "--nfqueue-id=7", "--v=4", "--disable-nri"} <= set(arguments(chosen))
    digest = f"sha256:{'a' * 64}"
    assert arguments(f"networkPolicy.image.digest={digest}")[0].endswith(f"kube-network-policies@{digest}")


def test_cluster_network_policies_take_their_image_and_their_rights() -> None:
    cluster = "networkPolicy.clusterNetworkPolicies=true"
    assert arguments(cluster)[0].endswith(f":{TRIED}-npa-v1alpha2")
    rules = objects(ON, cluster)["ClusterRole"]["rules"]
    assert [rule["resources"] for rule in rules][1:] == [["networkpolicies"], ["clusternetworkpolicies"]]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("networkPolicy.queue=0", "at '/networkPolicy/queue': minimum"),
        ("networkPolicy.failOpen=maybe", "at '/networkPolicy/failOpen'"),
        ("networkPolicy.image.digest=latest", "at '/networkPolicy/image/digest'"),
        ("networkPolicy.extraArgs={v}", "at '/networkPolicy/extraArgs/0'"),
        ("networkPolicy.mode=strict", "additional properties 'mode' not allowed"),
        *(
            (f"networkPolicy.metricsBindAddress={address}", "at '/networkPolicy/metricsBindAddress'")
            for address in ("9080", ":0", ":65536", ":99999", "a/b?c:1", "::1:9080")
        ),
        ("networkPolicy.metricsBindAddress=:9810", "has port 9810, and so has metrics.port"),
        ("networkPolicy.metricsBindAddress=[::1]:9811", "has port 9811, and so has controller.metricsPort"),
        (
            "networkPolicy.image.tag=v1.1.1-npa-v1alpha2",
            "leave out -npa-v1alpha2: networkPolicy.clusterNetworkPolicies",
        ),
        (
            "networkPolicy.image.tag=v1.1.1-npa-v1alpha2,networkPolicy.clusterNetworkPolicies=true",
            "leave out -npa-v1alpha2",
        ),
        (
            "networkPolicy.queue=65535,networkPolicy.clusterNetworkPolicies=true",
            "networkPolicy.queue is 65535, the last one",
        ),
        (
            "networkPolicy.extraArgs={--v=2,--fail-open}",
            "--fail-open is the chart's own flag; set networkPolicy.failOpen",
        ),
        ("networkPolicy.extraArgs={--nfqueue-id=7}", "set networkPolicy.queue"),
        (
            "networkPolicy.extraArgs={--hostname-override=x}",
            "--hostname-override is the chart's own flag; leave it out",
        ),
    ],
)
def test_a_wrong_value_is_refused(value: str, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        template(ON, value)


def test_what_is_odd_and_right_is_taken():
    cluster = "networkPolicy.clusterNetworkPolicies=true,networkPolicy.queue=65534"
    addresses = ("[::1]:9080", ":65535", "localhost:1")
    for address in addresses:
        assert f"--metrics-bind-address={address}" in arguments(f"networkPolicy.metricsBindAddress={address}")
    flags = "networkPolicy.extraArgs={--disable-nri,--fail-open-x=1}"
    assert {"--nfqueue-id=65534", "--fail-open-x=1"} <= set(arguments(cluster, flags))
    assert "kind: DaemonSet" in template("networkPolicy.metricsBindAddress=:9810"), "nothing of it runs"


def test_its_own_flags_are_all_refused_as_further_ones():
    """Of two the last would count, and the value would say otherwise."""
    for flag in (word.partition("=")[0] for word in arguments()[2:]):
        with pytest.raises(Refused, match=f"extraArgs: {flag} is the chart's own flag"):
            template(ON, f"networkPolicy.extraArgs={{{flag}=1}}")


def hooks(mode: ModeName) -> list[tuple[str, str, int]]:
    """Kind, hook and priority of each chain of azure-cni that sees IP packets."""
    table = replace(TABLE, mode=mode)
    inet = ruleset(table, ways=Ways("eth0"), pods=table.pods).partition("table bridge")[0]
    words = re.findall(r"type (\w+) hook (\w+) priority (\w+)(?: - (\d+))?;", inet)
    numbers = {"raw": RAW, "filter": FILTER, "dstnat": DSTNAT, "srcnat": SRCNAT}
    return [(kind, hook, numbers[priority] - int(less or 0)) for kind, hook, priority, less in words]


@pytest.mark.parametrize("mode", ModeName)
def test_the_engine_sees_packets_after_the_guards_and_before_their_source_is_translated(mode: ModeName) -> None:
    chains = hooks(mode)
    assert {hook for _, hook, _ in chains} == {"prerouting", "forward", "output", "postrouting"}
    for kind, hook, priority in chains:
        if hook == "prerouting":
            assert priority < ENGINE["prerouting"], "what a pod must not send is dropped before the engine sees it"
        elif hook == "postrouting":
            assert (kind, priority > ENGINE["postrouting"]) == ("nat", True), "it sees the pod's own address"
