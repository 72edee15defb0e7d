"""The controller's environment: the chart's names, its defaults, and sentences for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from azure_cni.api.vnet_quota import Limits
from azure_cni.cluster.possession import Required
from azure_cni.entrypoints.controller_settings import AttestationSettings, read
from azure_cni.errors import ConfigInvalid
from azure_cni.model.nic import NicWriter

LEAST = {
    "AZURE_CNI_POD_NAME": "azure-cni-controller-x",
    "AZURE_CNI_NAMESPACE": "kube-system",
    "AZURE_CNI_HOST_IP": "10.0.0.4",
}


def test_the_defaults_are_the_charts() -> None:
    settings = read(LEAST)
    assert settings.cluster.defaults == Limits(limit=16_000, per_node=250, writes_per_minute=100, reserved=0)
    assert (settings.cluster.reclaim_s, settings.cluster.usages_s) == (300.0, 300.0)
    assert (settings.lease_name, settings.web.port, settings.nic_writer) == (
        "azure-cni-controller",
        9811,
        NicWriter.AGENT,
    )
    assert settings.attestation == AttestationSettings(required=Required.WITHOUT_PROVIDER_ID, bundle=None)


def test_all_can_be_chosen() -> None:
    settings = read({
        **LEAST,
        "AZURE_CNI_QUOTA_LIMIT": "400", "AZURE_CNI_QUOTA_PER_NODE": "30", "AZURE_CNI_QUOTA_WRITES_PER_MINUTE": "60",
        "AZURE_CNI_QUOTA_RESERVED": "8", "AZURE_CNI_RECLAIM_S": "5", "AZURE_CNI_USAGES_S": "7",
        "AZURE_CNI_NIC_WRITER": "controller", "AZURE_CNI_LEASE_NAME": "mine", "AZURE_CNI_METRICS_PORT": "1234",
        "AZURE_CNI_ATTESTATION": "always", "AZURE_CNI_ATTESTATION_CA_FILE": "/etc/ca.crt",
    })  # fmt: skip
    assert settings.cluster.defaults == Limits(limit=400, per_node=30, writes_per_minute=60, reserved=8)
    assert (settings.cluster.reclaim_s, settings.cluster.usages_s) == (5.0, 7.0)
    assert (settings.lease_name, settings.web.port, settings.nic_writer) == ("mine", 1234, NicWriter.CONTROLLER)
    assert settings.attestation == AttestationSettings(required=Required.ALWAYS, bundle=Path("/etc/ca.crt"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUOTA_LIMIT", "0", "1 to 65536"),
        ("QUOTA_LIMIT", "65537", "1 to 65536"),
        ("QUOTA_PER_NODE", "251", "1 to 250"),
        ("QUOTA_WRITES_PER_MINUTE", "0", "1 to 10000"),
        ("QUOTA_WRITES_PER_MINUTE", "10001", "1 to 10000"),
        ("QUOTA_RESERVED", "-1", "0 to 65536"),
        ("RECLAIM_S", "0", "at least 1.0 seconds"),
        ("NIC_WRITER", "nobody", "agent, controller, none"),
        ("NIC", "observe", "AZURE_CNI_NIC_WRITER=none replaces AZURE_CNI_NIC=observe"),
        ("ATTESTATION", "sometimes", "withoutProviderID, always, never"),
        ("POD_NAME", "", "is not set"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"AZURE_CNI_{name}") as raised:
        read({**LEAST, f"AZURE_CNI_{name}": value})
    assert words in str(raised.value)
