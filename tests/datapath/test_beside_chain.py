"""Plugins of other tools after ours, as their users give them to the chart, on a real kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from azure_cni.datapath.names import calico_ifname
from datapath.cluster_node import a_cluster_node, built, put_plugins, until_pods_can_start
from datapath.cnitool import until
from datapath.namespaces import NEEDS_ROOT, Namespaces
from datapath.test_beside_bandwidth import LIMITED, RATE, rates

pytestmark = NEEDS_ROOT
TUNING = {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1280}
OTHERS = """#!/bin/sh
# A plugin that passes on what it was given, and notes that it was called.
[ "$CNI_COMMAND" = VERSION ] && exec echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
given=$(cat)
echo "$CNI_COMMAND $given" >>"${0%/bin/*}/called"
[ "$CNI_COMMAND" = ADD ] || exit 0
echo "$given" | sed 's/.*"prevResult":\\({.*}\\),"type".*/\\1/'
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("plugin"))


def test_what_is_chained_is_called_for_each_pod_in_its_order_and_our_check_still_passes(
    namespaces: Namespaces, tmp_path: Path, plugin: Path
) -> None:
    put_plugins(tmp_path, "tuning")
    others = tmp_path / "bin" / "others"
    others.write_text(OTHERS)
    others.chmod(0o755)
    entries = [TUNING, {"type": "others", "colour": "blue"}]
    with a_cluster_node(namespaces, tmp_path, plugin, EXTRA_PLUGINS=json.dumps(entries)) as cni:
        until_pods_can_start(cni)
        pod = namespaces.new()
        address = cni.add(pod)
        (link,) = [one for one in pod.show("link") if one["ifname"] == "eth0"]
        assert (link["mtu"], pod.sysctl("net/ipv4/conf/eth0/arp_filter")) == (1280, "1")
        verb, _, given = (tmp_path / "called").read_text().partition(" ")
        handed = json.loads(given)
        assert (verb, handed["colour"], handed["name"]) == ("ADD", "blue", "azure-cni")
        assert handed["prevResult"]["ips"][0]["address"] == f"{address}/32"
        cni.done("del", pod.path)
        calls = [line.partition(" ")[0] for line in (tmp_path / "called").read_text().splitlines()]
        assert calls == ["ADD", "DEL"]
        assert pod.links() == {"lo"}


def test_a_plugin_of_others_that_is_missing_is_named_with_what_to_do(
    namespaces: Namespaces, tmp_path: Path, plugin: Path
) -> None:
    entries = json.dumps([{"type": "cilium-cni", "chaining-mode": "generic-veth"}])
    with a_cluster_node(namespaces, tmp_path, plugin, EXTRA_PLUGINS=entries) as cni:
        until(lambda: "the plugin cilium-cni is missing in" in cni.vm.said, cni.vm)
        assert "install it, or set cni.extraPlugins without it" in cni.vm.said
        assert not any((tmp_path / "net.d").glob("*.conflist"))


def test_a_chained_plugin_finds_a_link_that_has_calicos_name(
    namespaces: Namespaces, tmp_path: Path, plugin: Path
) -> None:
    """`bandwidth` compares the names in our result with the kernel's."""
    put_plugins(tmp_path, "bandwidth")
    of_pod = {"CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"}
    with a_cluster_node(namespaces, tmp_path, plugin, CHAIN_BANDWIDTH="true", LINK_NAMES="calico") as cni:
        until_pods_can_start(cni)
        pod, again = namespaces.new(), namespaces.new()
        cni.done("add", pod.path, CAP_ARGS=json.dumps(LIMITED), **of_pod)
        link = calico_ifname("shop", "web-0")
        assert rates(cni.vm.node)[link] == RATE // 8
        assert "former sandbox still has the link" in cni.refused("add", again.path, **of_pod)
        cni.done("check", pod.path, CAP_ARGS=json.dumps(LIMITED), **of_pod)
        cni.done("del", pod.path)  # without a word on the pod
        cni.done("add", again.path, **of_pod)
        assert link in cni.vm.node.links()
