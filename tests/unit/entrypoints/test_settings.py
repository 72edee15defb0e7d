"""Settings: the chart's defaults, and a sentence for each value that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from azure_cni.cni.systems import LINUX, WINDOWS
from azure_cni.entrypoints import settings
from azure_cni.entrypoints.web import Bind, WebSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.host.audit_files import AuditLimits

NODE = {"AZURE_CNI_NODE_NAME": "vm1", "AZURE_CNI_HOST_IP": "10.0.0.4"}


def test_the_node_name_is_enough():
    chosen = settings.read(NODE)
    assert (chosen.node_name, chosen.web, chosen.log_format) == (
        "vm1",
        WebSettings(9810, Bind.NODE, "10.0.0.4"),
        "json",
    )
    assert (chosen.node.defaults.min_free, chosen.node.defaults.max_free, chosen.node.defaults.batch) == (8, 24, 16)
    assert chosen.azure.imds_endpoint == "http://169.254.169.254"
    assert str(chosen.host.run_dir) == "/run/azure-cni"


def test_a_windows_node_has_its_own_places_and_no_portmap():
    host = settings.read(NODE, system=WINDOWS).host
    assert [str(path) for path in (host.bin_dir, host.conf_dir, host.run_dir)] == [
        r"C:\Program Files\containerd\cni\bin",
        r"C:\Program Files\containerd\cni\conf",
        r"C:\ProgramData\azure-cni",
    ]
    assert host.chained == ()
    assert len(settings.read(NODE).host.chained) == 1
    elsewhere = settings.read(NODE | {"AZURE_CNI_BIN_DIR": r"C:\k\bin"}, system=WINDOWS)
    assert str(elsewhere.host.bin_dir) == r"C:\k\bin"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MODE", "bridge", "pods on Windows hang on its virtual switch: set AZURE_CNI_MODE=transparent"),
        ("DOCKER_SOCKET", "/run/docker/plugins/azure-cni.sock", "Docker's containers are wired on Linux alone"),
        ("AUDIT_DIR", r"C:\audit", "the audit trail is kept on Linux alone"),
        ("CHAIN_PORTMAP", "true", "there is no portmap for Windows"),
        ("CHAIN_BANDWIDTH", "true", "there is no bandwidth for Windows"),
        ("EXTRA_PLUGINS", '[{"type": "tuning"}]', "plugins in the same conflist were not tried there"),
    ],
)
def test_what_an_agent_on_windows_does_not_do_is_refused_with_the_reason(name: str, value: str, words: str):
    with pytest.raises(ConfigInvalid, match=f"cannot start: AZURE_CNI_{name} is") as raised:
        settings.read(NODE | {f"AZURE_CNI_{name}": value}, system=WINDOWS)
    assert words in str(raised.value)


def test_a_windows_agent_starts_with_what_turns_the_same_off():
    off = {
        "CHAIN_PORTMAP": "false",
        "CHAIN_BANDWIDTH": "false",
        "EXTRA_PLUGINS": "[]",
        "AUDIT_DIR": "",
        "MODE": "transparent",
    }
    chosen = settings.read(NODE | {f"AZURE_CNI_{name}": value for name, value in off.items()}, system=WINDOWS)
    assert (chosen.system, settings.read(NODE).system) == (WINDOWS, LINUX)
    assert str(chosen.host.plugin) == r"C:\hpc\azure-cni\azure-cni.exe"


def test_a_fixed_size_and_prefixes():
    chosen = settings.read(
        NODE | {"AZURE_CNI_POOL_SIZE": "40", "AZURE_CNI_ROUTABLE_PREFIXES": "10.0.0.0/8, 192.168.50.0/24"}
    )
    assert chosen.node.defaults.size == 40
    assert {str(prefix) for prefix in chosen.node.routable} == {"10.0.0.0/8", "192.168.50.0/24"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("POOL_MAX", "many", "whole number"),
        ("POOL_MAX", "300", "1 and 250"),
        ("POOL_MAX_FREE", "10", "minFree + batch"),
        ("ROUTABLE_PREFIXES", "10.0.0.1/8", "IPv4 prefixes"),
        ("MODE", "tunnel", "one of transparent, bridge"),
        ("IDENTITY", "password", "managed, workload"),
        ("NIC", "observe", "AZURE_CNI_NIC_WRITER=none replaces AZURE_CNI_NIC=observe"),
        ("NIC", "manage", "leave AZURE_CNI_NIC out"),
        ("NIC_WRITER", "observe", "agent, controller, none"),
        ("METRICS_BIND", "world", "node, loopback, none"),
        ("METRICS_AUTH", "token", "needs AZURE_CNI_METRICS_TLS=true"),
        ("METRICS_AUTH", "basic", "none, token"),
        ("METRICS_TLS", "yes", "false, true"),
        ("HOST_IP", "10.0.0.400", "an IP address"),
        ("ADOPT", "all", "plain, none"),
        ("CLOUD", "AzureGermanCloud", "AzurePublicCloud, AzureUSGovernment, AzureChinaCloud"),
        ("NIC_WRITER", "controller", "needs AZURE_CNI_GRANTS=controller"),
        ("GRANTS", "nobody", "self, controller"),
        ("ALLOW_IMDS", "yes", "false, true"),
        ("COOLING_S", "-1", "at least 0"),
        ("RESYNC_S", "0", "at least 1"),
        ("SHRINK_DELAY_S", "soon", "number of seconds"),
        ("LOG_LEVEL", "loud", "info, debug"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(name: str, value: str, words: str):
    with pytest.raises(ConfigInvalid) as raised:
        settings.read(NODE | {f"AZURE_CNI_{name}": value})
    assert words in str(raised.value)
    assert value in str(raised.value)


def test_without_a_node_name_it_says_who_sets_it():
    with pytest.raises(ConfigInvalid, match="AZURE_CNI_NODE_NAME is not set"):
        settings.read({})


@pytest.mark.parametrize("name", ["AzureUSGovernment", "AzureUSGovernmentCloud"])
def test_a_cloud_is_known_as_the_metadata_service_calls_it_too(name):
    assert settings.read({**NODE, "AZURE_CNI_CLOUD": name}).azure.cloud == "AzureUSGovernment"


def test_a_nic_that_nobody_writes_has_nothing_without_adopted_addresses():
    with pytest.raises(ConfigInvalid, match="NIC_WRITER is none and AZURE_CNI_ADOPT is none: pods would get nothing"):
        settings.read({**NODE, "AZURE_CNI_NIC_WRITER": "none", "AZURE_CNI_ADOPT": "none"})


@pytest.mark.parametrize(("written", "shrink"), [({}, False), ({"AZURE_CNI_SHRINK_SCALE_SETS": "true"}, True)])
def test_scale_sets_shrink_only_where_somebody_says_so(written: dict[str, str], *, shrink: bool):
    assert settings.read(NODE | written).azure.shrink_scale_sets is shrink


def test_tls_needs_a_port_that_others_reach():
    with pytest.raises(ConfigInvalid, match="needs AZURE_CNI_METRICS_BIND=node"):
        settings.read(NODE | {"AZURE_CNI_METRICS_TLS": "true", "AZURE_CNI_METRICS_BIND": "loopback"})


def test_an_audit_trail_has_a_place_and_bounds_or_there_is_none():
    assert settings.read(NODE).host.audit is None
    wanted = {"AUDIT_DIR": "/var/lib/azure-cni/audit", "AUDIT_MIB": "7", "AUDIT_DAYS": "3"}
    chosen = settings.read(NODE | {f"AZURE_CNI_{name}": value for name, value in wanted.items()})
    assert chosen.host.audit == AuditLimits(
        Path("/var/lib/azure-cni/audit"), most_bytes=7 << 20, longest_s=3 * 86_400.0
    )


def test_docker_is_served_where_a_socket_is_named_and_only_in_the_mode_in_which_it_can_be():
    assert settings.read(NODE).docker is None
    place = settings.read(NODE | {"AZURE_CNI_DOCKER_SOCKET": "/run/docker/plugins/azure-cni.sock"}).docker
    assert place == settings.DockerPlace(Path("/run/docker/plugins/azure-cni.sock"), Path("/var/lib/azure-cni/docker"))
    named = {"AZURE_CNI_DOCKER_SOCKET": "/p.sock", "AZURE_CNI_DOCKER_ENGINE_SOCKET": "/run/docker-api/docker.sock"}
    with_engine = settings.read(NODE | named).docker
    assert with_engine is not None
    assert with_engine.engine == Path("/run/docker-api/docker.sock")
    with pytest.raises(ConfigInvalid, match="AZURE_CNI_LINK_NAMES is calico, which needs AZURE_CNI_MODE=transparent"):
        settings.read(NODE | {"AZURE_CNI_LINK_NAMES": "calico", "AZURE_CNI_MODE": "bridge"})
    with pytest.raises(ConfigInvalid, match="AZURE_CNI_DOCKER_SOCKET is set, which needs AZURE_CNI_MODE=transparent"):
        settings.read(NODE | {"AZURE_CNI_DOCKER_SOCKET": "/p.sock", "AZURE_CNI_MODE": "bridge"})


POD_SUBNETS = json.dumps(
    [{"subnet": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/pods"}]
)


def test_the_families_of_pods():
    assert not settings.read(NODE).node.defaults.ipv6
    both = {**NODE, "AZURE_CNI_IP_FAMILIES": "IPv4,IPv6"}
    assert settings.read(both).node.defaults.ipv6
    for more, why in (
        ({"AZURE_CNI_NIC_WRITER": "none"}, "AZURE_CNI_NIC_WRITER is none: nobody would add IPv6 addresses to the NIC"),
        ({"AZURE_CNI_DOCKER_SOCKET": "/p.sock"}, "AZURE_CNI_DOCKER_SOCKET is set: Docker's containers get IPv4 alone"),
        ({"AZURE_CNI_IP_FAMILIES": "IPv6"}, "IPv4,IPv6"),
        ({"AZURE_CNI_POD_SUBNETS": POD_SUBNETS}, "pods in a subnet of their own get IPv4 alone"),
    ):
        with pytest.raises(ConfigInvalid, match=why):
            settings.read(both | more)
