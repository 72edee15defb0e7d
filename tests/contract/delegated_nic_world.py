"""A NIC that a controller writes for a node that has attested its VM, with the API server in memory between the two."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from random import Random

from azure_cni.api.node_ip_pool import NodeIPPool, WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, nic_label
from azure_cni.azure.arm import Arm
from azure_cni.azure.attestations import AttestedDocuments
from azure_cni.azure.delegated import DelegatedAzure
from azure_cni.azure.imds import ImdsClaims
from azure_cni.cluster.node_allowance import Spent
from azure_cni.cluster.pod_subnet_claims import PodSubnetClaims
from azure_cni.cluster.possession import Required
from azure_cni.kube.delegated_nic import OperationClient
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.identity import IdentityClaim
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import MAX_CONFIGS_PER_NIC, AttachmentChange, ConfigName, NicView, VNetID
from azure_cni.node.azure_ports import Nic
from fakeazure import FakeAzure
from fakes.cluster import FakeCluster, FakeMemberNodes
from fakes.delegation import executing, post_of


@contextlib.asynccontextmanager
async def delegating(
    arm: Arm, azure: FakeAzure, claims: ImdsClaims, *, attachable: frozenset[AttachedResource] = frozenset()
) -> AsyncIterator[tuple[FakeCluster, OperationClient]]:
    """A node `vm1`, and a controller that asks the resource manager for it, once the node has attested its VM."""
    cluster = FakeCluster()
    cluster.node("vm1", requested=300, granted=300, grantedFor=1)
    with tempfile.TemporaryDirectory() as directory:
        bundle = Path(directory, "bundle.pem")
        bundle.write_bytes(azure.attester.bundle)  # noqa: ASYNC240  # nobody waits yet
        attestations = AttestedDocuments(
            cloud="AzurePublicCloud", bundle=bundle, certificates=NoCertificates(), utc_s=azure.now
        )
        machines = DelegatedAzure(arm, chance=Random(7), shrink_scale_sets=True)
        options = {
            "attestations": attestations,
            "required": Required.ALWAYS,
            "reservations": _Generous(cluster),
            "attachable": attachable,
            "pod_subnets": _AnyPodSubnet(nodes=FakeMemberNodes(cluster)),
        }
        async with executing(cluster, machines, **options):
            yield cluster, post_of(cluster, "vm1", attest=claims.document)


class _AnyPodSubnet(PodSubnetClaims):
    """Somebody chose whatever a node claims: these tests are about what Azure shows of it."""

    async def check(self, claim: IdentityClaim, pool: NodeIPPool, spent: Spent) -> None:
        """All are good."""


class NoCertificates:
    """Implements `azure_cni.azure.attestations.Certificates`: nothing is published."""

    async def fetch(self, url: str) -> bytes | None:
        raise AssertionError(f"asked for {url}")


class _Generous:
    """Implements `azure_cni.cluster.ports.Reservations`: whatever a node wants is reserved, up to what a NIC holds."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    async def of(self, node: str, _: VNetID, *, request_id: int) -> LedgerEntry:
        status = self._cluster.status(node)
        nic = nic_label(status["nicOperationResult"]["identity"]["nic"])
        return LedgerEntry(MAX_CONFIGS_PER_NIC, request_id, nic, write_intent=WriteIntent(status["writeIntent"]))


class Granted:
    """The delegated NIC of a node whose every request is granted at once."""

    def __init__(self, nic: Nic, cluster: FakeCluster) -> None:
        self._nic, self._cluster = nic, cluster
        self._numbers = itertools.count(2)
        self.conclusive, self.takes_blocks = nic.conclusive, nic.takes_blocks

    async def read(self) -> NicView:
        return await self._nic.read()

    async def write(
        self,
        seen: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        number = next(self._numbers)
        alone = WriteIntent.ATTACH if attach else WriteIntent.SHRINK if remove else WriteIntent.REWRITE
        intent = WriteIntent.GROW if add else alone
        status = {"requestID": number, "grantedFor": number, "writeIntent": intent.value}
        self._cluster.pools.patch("vm1", {"status": status})
        return await self._nic.write(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)

    async def set_security_groups(self, seen: NicView, groups: Sequence[str]) -> NicView:
        number = next(self._numbers)
        status = {"requestID": number, "grantedFor": number, "writeIntent": WriteIntent.REWRITE.value}
        self._cluster.pools.patch("vm1", {"spec": {"applicationSecurityGroups": list(groups)}})
        self._cluster.pools.patch("vm1", {"status": status})
        return await self._nic.set_security_groups(seen, groups)
