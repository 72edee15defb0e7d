"""The controller's settings, read once from the environment, as the agent's are (`settings`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from azure_cni.api import vnet_quota
from azure_cni.api.vnet_quota import Limits
from azure_cni.cluster.ports import ClusterSettings
from azure_cni.cluster.possession import Required
from azure_cni.entrypoints import settings
from azure_cni.entrypoints.environment_values import PREFIX, Reader
from azure_cni.entrypoints.settings import AzureSettings
from azure_cni.entrypoints.web import WebSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.model.attachments import Allowance
from azure_cni.model.nic import NicWriter
from azure_cni.model.pod_subnets import PodSubnetRule

MAX_ADDRESSES_PER_VNET = 65_536
"""Private addresses in a VNet (Azure subscription limits, networking)."""


@dataclass(frozen=True, slots=True)
class AttestationSettings:
    """Which nodes must attest their VM, and whom to trust for it; `bundle` is None for the public authorities."""

    required: Required
    bundle: Path | None


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """All settings of the controller."""

    pod_name: str
    namespace: str
    lease_name: str
    cluster: ClusterSettings
    azure: AzureSettings
    nic_writer: NicWriter
    attachable: tuple[Allowance, ...]
    pod_subnets: tuple[PodSubnetRule, ...]
    attestation: AttestationSettings
    web: WebSettings
    log_level: str
    log_format: str


def read(environ: Mapping[str, str]) -> ControllerSettings:
    """Validate the environment. ConfigInvalid names the first variable that is wrong."""
    reader = Reader(environ)
    nic_writer = settings.read_nic_writer(reader)
    return ControllerSettings(
        pod_name=reader.required("POD_NAME"),
        namespace=reader.required("NAMESPACE"),
        lease_name=reader.text("LEASE_NAME", "azure-cni-controller"),
        cluster=ClusterSettings(
            defaults=Limits(
                limit=_count(reader, "QUOTA_LIMIT", vnet_quota.LIMIT, most=MAX_ADDRESSES_PER_VNET),
                per_node=_count(reader, "QUOTA_PER_NODE", MAX_ADDRESSES_PER_NODE, most=MAX_ADDRESSES_PER_NODE),
                writes_per_minute=_count(
                    reader,
                    "QUOTA_WRITES_PER_MINUTE",
                    vnet_quota.WRITES_PER_MINUTE,
                    most=vnet_quota.MOST_WRITES_PER_MINUTE,
                ),
                reserved=_count(reader, "QUOTA_RESERVED", 0, least=0, most=MAX_ADDRESSES_PER_VNET),
            ),
            reclaim_s=reader.seconds("RECLAIM_S", ClusterSettings().reclaim_s, least=1.0),
            usages_s=reader.seconds("USAGES_S", ClusterSettings().usages_s, least=1.0),
        ),
        azure=settings.azure(reader),
        nic_writer=nic_writer,
        attachable=settings.attachable(reader),
        pod_subnets=settings.pod_subnets(reader, nic_writer),
        attestation=AttestationSettings(
            required=Required(reader.choice("ATTESTATION", *Required)),
            bundle=reader.parsed("ATTESTATION_CA_FILE", Path, "a file", None),
        ),
        web=settings.web(reader, port=9811),
        log_level=reader.choice("LOG_LEVEL", "info", "debug", "warning", "error"),
        log_format=reader.choice("LOG_FORMAT", "json", "text"),
    )


def _count(reader: Reader, name: str, default: int, *, least: int = 1, most: int) -> int:
    value = reader.whole(name, default)
    if not least <= value <= most:
        raise ConfigInvalid(f"cannot start: {PREFIX}{name} is {value}; it must be {least} to {most}")
    return value
