"""The adapter to Azure that `nicWriter` asks for: ARM with an identity, the controller, or IMDS without writes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.azure.answers import CallMetrics
from azure_cni.azure.imds import Imds, ImdsClaims
from azure_cni.azure.observed import ImdsAddresses, ObservedCloud, ObservedNic
from azure_cni.entrypoints.settings import AzureSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.kube.delegated_nic import DelegatedCloud, DelegatedNic, OperationClient
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import NicWriter
from azure_cni.node.azure_ports import Cloud, Nic, ShownAddresses
from azure_cni.node.ports import Observer, Pools

if TYPE_CHECKING:
    from azure_cni.azure.arm import Arm


def _unheard(_: NodeIPPool) -> None:
    """An agent that calls Azure itself needs nothing from the pool."""


@dataclass(frozen=True, slots=True)
class AzurePorts:
    """The ports to Azure. `pool_seen` takes each version of the node's pool: results of NIC operations. `arm` is the
    session with the resource manager, None where there is none.
    """

    cloud: Cloud
    nic_of: Callable[[NodeIdentity], Nic]
    shown_addresses: ShownAddresses
    pool_seen: Callable[[NodeIPPool], None] = _unheard
    arm: Arm | None = None


def azure_ports(
    settings: AzureSettings, nic_writer: NicWriter, *, pools: Pools, observer: Observer, closing: AsyncExitStack
) -> AzurePorts:
    """Build them; whatever must be closed is registered with `closing`. Nothing is asked of Azure yet."""
    imds = Imds(url=settings.imds_endpoint, meter=observer)
    match nic_writer:
        case NicWriter.AGENT:
            return _managed(settings, imds=imds, observer=observer, closing=closing)
        case NicWriter.CONTROLLER:
            return _delegated(imds, pools)
        case NicWriter.NONE:
            return AzurePorts(
                cloud=ObservedCloud(imds),
                nic_of=lambda who: ObservedNic(imds, mac=who.mac),
                shown_addresses=ImdsAddresses(imds),
            )
        case _:
            assert_never(nic_writer)


def _delegated(imds: Imds, pools: Pools) -> AzurePorts:
    """The ports of a node that holds no permission in Azure: the controller is asked through the node's pool.

    Azure's SDK is never loaded in this mode (a test holds that), and no identity is needed: the metadata service asks
    for none.
    """
    claims = ImdsClaims(imds)
    client = OperationClient(pools, attest=claims.document)
    return AzurePorts(
        cloud=DelegatedCloud(claims, client),
        nic_of=partial(DelegatedNic, post=client),
        shown_addresses=ImdsAddresses(imds),
        pool_seen=client.see,
    )


def _managed(settings: AzureSettings, *, imds: Imds, observer: Observer, closing: AsyncExitStack) -> AzurePorts:
    from azure_cni.azure.nics import nic_at
    from azure_cni.azure.vm_identity import ArmVmIdentity

    chance = random.SystemRandom()
    arm = open_arm(settings, meter=observer, closing=closing)
    return AzurePorts(
        # A custom endpoint is a private cloud's, whatever the metadata service calls that cloud.
        cloud=ArmVmIdentity(imds, arm, cloud="" if settings.arm_endpoint else settings.cloud),
        nic_of=lambda who: nic_at(
            arm,
            who.nic_id,
            chance=chance,
            adopt=settings.adopt,
            shrink_scale_sets=settings.shrink_scale_sets,
            beside=who.beside,
        ),
        shown_addresses=ImdsAddresses(imds),
        arm=arm,
    )


def open_arm(settings: AzureSettings, *, meter: CallMetrics, closing: AsyncExitStack) -> Arm:
    """A session with the resource manager, as the identity that the settings name; closed by `closing`.

    ConfigInvalid when a proxy variable, or the file of certificate authorities, cannot be used.
    """
    # Imported here: an agent that does not write its NIC never loads Azure's SDK, which is some 20 MiB.
    from azure_cni.azure.arm import Arm
    from azure_cni.azure.credentials import managed_identity, workload_identity
    from azure_cni.azure.endpoints import cloud_named
    from azure_cni.azure.proxies import proxy_for, tls_context

    cloud = cloud_named(settings.cloud, endpoint=settings.arm_endpoint)
    ca_file = Path(settings.ca_file) if settings.ca_file else None
    if ca_file is not None:
        tls_context(ca_file)  # a process that cannot reach Azure does not start
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
