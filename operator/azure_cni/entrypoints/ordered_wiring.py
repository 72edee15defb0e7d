"""The ports to Azure of a node that holds no permission there: the controller is asked by way of the node's pool.

Azure's SDK is never loaded in this mode (a test holds that), and no identity is needed: the metadata service asks none.
"""

from __future__ import annotations

from functools import partial

from azure_cni.azure.claims import ImdsClaims
from azure_cni.azure.imds import Imds
from azure_cni.entrypoints.azure_wiring import AzurePorts
from azure_cni.entrypoints.settings import AzureSettings
from azure_cni.node.ordered import OrderedCloud, OrderedNic, OrderPost
from azure_cni.node.ports import Observer, Pools


def ordered_ports(settings: AzureSettings, *, pools: Pools, observer: Observer) -> AzurePorts:
    """Build them over this node's pool. Nothing is asked of anybody yet."""
    post = OrderPost(pools)
    claims = ImdsClaims(Imds(url=settings.imds_endpoint, meter=observer))
    return AzurePorts(cloud=OrderedCloud(claims, post), nic_of=partial(OrderedNic, post=post), pool_seen=post.see)
