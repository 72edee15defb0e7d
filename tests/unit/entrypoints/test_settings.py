"""Settings: the chart's defaults, and a sentence for each value that is wrong."""

from __future__ import annotations

import pytest

from azure_cni.entrypoints import settings
from azure_cni.entrypoints.web import Bind, WebSettings
from azure_cni.errors import ConfigInvalid

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
        ("IDENTITY", "password", "managed, workload"),
        ("NIC", "ignore", "manage, observe"),
        ("METRICS_BIND", "world", "node, loopback, none"),
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


def test_a_nic_that_is_only_observed_has_nothing_without_adopted_addresses():
    with pytest.raises(ConfigInvalid, match="ADOPT is none and AZURE_CNI_NIC observe: pods would get nothing"):
        settings.read({**NODE, "AZURE_CNI_NIC": "observe", "AZURE_CNI_ADOPT": "none"})
