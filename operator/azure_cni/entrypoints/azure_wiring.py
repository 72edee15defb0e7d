"""Which adapter to Azure the settings ask for: ARM with an identity, or what IMDS shows and no writes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure_cni.api.identity import NodeIdentity
from azure_cni.azure.imds import Imds
from azure_cni.azure.meter import Meter
from azure_cni.azure.observed import ObservedCloud, ObservedNic
from azure_cni.entrypoints.settings import AzureSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.node.ports import Cloud, Nic, Observer

if TYPE_CHECKING:
    from azure_cni.azure.arm import Arm


def _unheard(_: Mapping[str, Any]) -> None:
    """Who asks Azure itself needs nothing of the pool."""


@dataclass(frozen=True, slots=True)
class AzurePorts:
    """The two ports to Azure. `pool_seen` is told of each version of the node's pool: orders are answered there."""

    cloud: Cloud
    nic_of: Callable[[NodeIdentity], Nic]
    pool_seen: Callable[[Mapping[str, Any]], None] = _unheard


def azure_ports(settings: AzureSettings, *, observer: Observer, closing: AsyncExitStack) -> AzurePorts:
    """Build them; whatever must be closed is registered with `closing`. Nothing is asked of Azure yet."""
    imds = Imds(url=settings.imds_endpoint, meter=observer)
    if settings.nic == "observe":
        return AzurePorts(cloud=ObservedCloud(imds), nic_of=lambda who: ObservedNic(imds, mac=who.mac))
    return _managed(settings, imds=imds, observer=observer, closing=closing)


def _managed(settings: AzureSettings, *, imds: Imds, observer: Observer, closing: AsyncExitStack) -> AzurePorts:
    from azure_cni.azure.cloud import ArmCloud
    from azure_cni.azure.nic import ArmNic

    arm = open_arm(settings, meter=observer, closing=closing)
    return AzurePorts(
        # An endpoint of its own is a private cloud's, whatever the metadata service calls it.
        cloud=ArmCloud(imds, arm, cloud="" if settings.arm_endpoint else settings.cloud),
        nic_of=lambda who: ArmNic(arm, who.nic_id, chance=random.SystemRandom(), adopt=settings.adopt),
    )


def open_arm(settings: AzureSettings, *, meter: Meter, closing: AsyncExitStack) -> Arm:
    """A session with the resource manager, as the identity that the settings name; closed by `closing`.

    ConfigInvalid when a variable that names a proxy is of no use.
    """
    # Imported here: a node that only observes never loads Azure's SDK, which is some 20 MiB.
    from azure_cni.azure.arm import Arm
    from azure_cni.azure.clouds import cloud_named
    from azure_cni.azure.credentials import managed_identity, workload_identity
    from azure_cni.azure.proxies import proxy_for

    cloud = cloud_named(settings.cloud, endpoint=settings.arm_endpoint)
    ca_file = Path(settings.ca_file) if settings.ca_file else None
    proxy = proxy_for(cloud.endpoint, os.environ)
    if settings.identity == "workload":
        credential = workload_identity(
            cloud,
            tenant_id=_federated("AZURE_TENANT_ID"),
            client_id=settings.client_id or _federated("AZURE_CLIENT_ID"),
            token_file=Path(_federated("AZURE_FEDERATED_TOKEN_FILE")),
            ca_file=ca_file,
            proxy=proxy_for(cloud.authority, os.environ),
        )
    else:
        credential = managed_identity(client_id=settings.client_id, imds_url=settings.imds_endpoint)
    arm = Arm(cloud, credential, meter=meter, ca_file=ca_file, proxy=proxy)
    closing.push_async_callback(arm.close)
    return arm


def _federated(name: str) -> str:
    """A variable that the chart sets in the agent's pods for workload identity."""
    value = os.environ.get(name, "")
    if not value:
        raise ConfigInvalid(
            f"cannot start: workload identity was chosen but {name} is not set; "
            "the chart sets it from azure.tenantID and azure.clientID"
        )
    return value
