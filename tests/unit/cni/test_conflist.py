"""The conflist in the versions that a runtime may be given, and which runtimes ask STATUS of it."""

import json

import pytest

from azure_cni.cni.conflist import (
    BANDWIDTH,
    PORTMAP,
    VERSION,
    AgentPlace,
    asks_status,
    conflist,
    delegates,
    holding_conflist,
)
from azure_cni.cni.systems import WINDOWS


@pytest.mark.parametrize("chained", [(), (PORTMAP,), (PORTMAP, BANDWIDTH)])
def test_a_conflist_is_of_the_version_that_everybody_speaks(chained):
    document = json.loads(conflist(place=AgentPlace(socket="/run/x/cni.sock"), chained=chained))
    assert (document["cniVersion"], document["name"]) == (VERSION, "azure-cni") == ("1.0.0", "azure-cni")
    assert [plugin["type"] for plugin in document["plugins"]] == ["azure-cni", "portmap", "bandwidth"][
        : 1 + len(chained)
    ]


def test_the_conflists_declare_what_a_runtime_would_otherwise_drop_in_silence():
    for text in (conflist(), holding_conflist()):
        assert json.loads(text)["plugins"][0]["capabilities"] == {"ips": True, "mac": True}


def test_a_runtime_passes_on_what_the_chained_plugins_serve_only_by_their_capabilities():
    _, *others = json.loads(conflist(chained=[PORTMAP, BANDWIDTH]))["plugins"]
    assert [plugin["capabilities"] for plugin in others] == [{"portMappings": True}, {"bandwidth": True}]


def test_ports_come_to_us_to_be_refused_only_where_nobody_else_publishes_them():
    def declared(**options):
        return "portMappings" in json.loads(conflist(**options))["plugins"][0]["capabilities"]

    assert declared(refuse_ports=True)
    assert not declared(refuse_ports=True, chained=[PORTMAP])
    assert not declared()


def test_the_conflist_that_holds_has_the_same_name_and_our_plugin_alone():
    """The name is what a runtime finds a sandbox's cached result by."""
    ours, holding = json.loads(conflist(chained=[PORTMAP])), json.loads(holding_conflist())
    assert holding == {**ours, "cniVersion": "1.1.0", "plugins": ours["plugins"][:1]}


@pytest.mark.parametrize("write", [conflist, holding_conflist])
def test_on_windows_the_plugin_is_alone_and_finds_the_pipe_and_the_directory_of_its_records(write):
    (ours,) = json.loads(write(place=AgentPlace(WINDOWS, run_dir=WINDOWS.run_dir)))["plugins"]
    assert (ours["socket"], ours["runDir"]) == (WINDOWS.default_socket, r"C:\ProgramData\azure-cni")
    assert ours["capabilities"] == {"ips": True, "mac": True, "dns": True, "portMappings": True}
    assert "runDir" not in json.loads(write())["plugins"][0]


@pytest.mark.parametrize(
    ("runtime", "asks"),
    [
        ("containerd://2.4.2", True),
        ("containerd://v2.4.2", True),
        ("containerd://2.1.0-rc.0", True),
        ("containerd://2.0.5", False),
        ("containerd://1.7.27-0ubuntu1", False),
        ("containerd://1.6.20~ds1", False),
        ("containerd://10.0", True),
        ("cri-o://1.32.1", True),
        ("cri-o://1.30.4", False),
        ("docker://28.0.1", False),
        ("containerd://", False),
        ("containerd://2." + "9" * 5000, True),
        ("containerd", False),
        ("", False),
    ],
)
def test_which_runtimes_ask_status(runtime, asks):
    assert asks_status(runtime) is asks


OURS, OTHERS = json.loads(conflist(chained=[PORTMAP])), {"name": "cilium", "plugins": [{"type": "cilium-cni"}]}
CLUSTER = {"type": "multus-shim", "name": "multus-cni-network", "cniVersion": "1.0.0", "clusterNetwork": ""}


@pytest.mark.parametrize(
    ("document", "ours"),
    [
        # As Multus v4.2.2 writes them: of its thin kind a conflist that has ours in it, or a file of one plugin.
        ({"name": "multus-cni-network", "plugins": [{"type": "multus", "delegates": [OURS]}]}, True),
        ({"name": "multus-cni-network", "plugins": [{"type": "multus", "delegates": [OTHERS, OURS]}]}, False),
        ({"type": "multus", "delegates": [OURS]}, True),
        ({"type": "multus", "delegates": [OURS["plugins"][0]]}, True),
        ({"type": "multus", "delegates": []}, False),
        ({"type": "multus", "delegates": [1]}, False),
        ({"type": "multus", "delegates": {"type": "azure-cni"}}, False),
        (CLUSTER | {"clusterNetwork": "/host/etc/cni/net.d/10-azure-cni.conflist"}, True),
        (CLUSTER | {"clusterNetwork": "azure-cni"}, True),
        (CLUSTER | {"clusterNetwork": "/host/etc/cni/net.d/05-cilium.conflist", "delegates": [OURS]}, False),
        (CLUSTER | {"clusterNetwork": "/host/etc/cni/net.d/110-azure-cni.conflist"}, False),
        (CLUSTER | {"clusterNetwork": "10-azure-cni.conflist"}, False),  # that is no name of a network
        (CLUSTER | {"clusterNetwork": ["azure-cni"]}, False),
        (CLUSTER, False),
        (OURS, None),  # under another name, as after a change of cni.confName
        (OTHERS, None),
        ({"plugins": []}, None),
        ({"plugins": 1}, None),
        ([], None),
    ],
)
def test_multus_delegates_to_us_or_somebody_else_has_the_pods(document, ours):
    assert delegates(json.dumps(document).encode(), conf_name="10-azure-cni.conflist") is ours


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_configuration_delegates_to_nobody(text):
    assert delegates(text, conf_name="10-azure-cni.conflist") is None
