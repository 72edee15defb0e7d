"""What the events of a pod that waits say of its network: the agent's, and what kubelet, runtime and plugin pass on."""

from __future__ import annotations

import pytest

from azure_cni.cni.conflist import BANDWIDTH, PORTMAP
from azure_cni.diagnose.causes import UNCHAIN, in_words, unchained
from unit.diagnose.clusters import cluster, event, pod
from unit.diagnose.test_pod_diagnosis import OURS, explain


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("failed to setup network: cannot reach the azure-cni agent at /run/azure-cni/cni.sock", "AgentAway"),
        ('failed to find plugin "portmap" in path [/opt/cni/bin]', "PluginMissing"),
        ("cni plugin not initialized", "NodeNotReady"),
        (OURS.format("cannot make the veth: no such device"), "DatapathFailed"),
        (OURS.format("cannot open the ledger: disk I/O error; LedgerFailed"), "LedgerFailed"),
        (OURS.format('cannot use the network configuration: unknown key "sokcet"; InvalidConfig'), "ConflistEdited"),
        (OURS.format("cannot wire it: of a newer agent; SomethingNew"), "DatapathFailed"),
        ('plugin type="azure-cni" name="azure-cni" failed (add): cannot make the veth', "DatapathFailed"),
        ('plugin type="portmap" failed (add): unable to set up chains', "NotOurs"),
        ('no runtime for "gvisor" is configured', "NotOurs"),
    ],
)
def test_the_runtimes_event_says_it_where_the_agent_had_no_say(message: str, cause: str):
    assert explain(cluster(pod(), events=[event("web", "FailedCreatePodSandBox", message)])).cause == cause


@pytest.mark.parametrize(
    ("name", "setting"),
    [("portmap", PORTMAP.unchain), ("bandwidth", BANDWIDTH.unchain), ("loopback", "SETTING")],
)
def test_of_a_plugin_that_is_missing_the_command_names_the_setting_that_chains_it(name: str, setting: str):
    for said in (f'failed to find plugin "{name}" in path [/opt/cni/bin]', f"the plugin {name} is missing in /x"):
        assert in_words(UNCHAIN, setting=unchained(said)).endswith(f" --set {setting}")


def test_a_node_whose_runtime_has_no_network_yet():
    said = "network is not ready: NetworkReady=false reason:NetworkPluginNotReady message: cni plugin not initialized"
    assert explain(cluster(pod(), events=[event("web", "NetworkNotReady", said)])).cause == "NodeNotReady"


def test_of_two_events_the_newest_counts():
    events = [
        event("web", "NoAddress", "PoolGrowing: Azure is working on the NIC", at="2026-11-28T06:10:00Z"),
        event("web", "NoAddress", "SubnetFull: no address is left", at="2026-11-28T06:19:00Z"),
    ]
    assert explain(cluster(pod(), events=events)).cause == "SubnetFull"


def test_the_runtimes_newer_event_about_the_same_is_said_in_the_agents_words():
    events = [
        event("web", "NoAddress", "SubnetFull: no address is left", at="2026-11-28T06:19:00Z"),
        event("web", "FailedCreatePodSandBox", OURS.format("cannot give default/web an address: none; SubnetFull")),
    ]
    found = explain(cluster(pod(), events=events))
    assert (found.cause, found.message) == ("SubnetFull", "no address is left")
    alone = explain(cluster(pod(), events=events[1:]))
    assert (alone.cause, alone.message) == ("SubnetFull", "cannot give default/web an address: none")
