"""The ledger of a VNet with as many nodes as Kubernetes has, on a real API server: one object is enough.

Sizes are those of names as clusters have them. What such writes cost is in docs/figures.md.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from azure_cni.api.vnet_quota import Draft, LedgerEntry, Limits, VNetQuota
from azure_cni.errors import KubeInvalid
from azure_cni.kube.client import KubeClient
from azure_cni.kube.quotas import KubeQuotas
from azure_cni.model.nic import VNetID
from contract.kube_world import Place
from unit.quota.ledger_sizes import KUBERNETES_MOST, NAMES, entries

VNET = VNetID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/far")
MOST = 8192
"""Entries that the definition allows."""
PATIENCE_S = 120.0
"""A write is one to two seconds of a processor, and test machines are busy."""


@pytest.fixture
async def quotas(apiserver: Place) -> AsyncIterator[KubeQuotas]:
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint, timeout_s=PATIENCE_S) as client:
        yield KubeQuotas(client)


async def _written(quotas: KubeQuotas, ledger: dict[str, LedgerEntry], *, limit: int) -> VNetQuota:
    """The quota with all of that in one write."""
    quota = await quotas.create(f"far-{uuid.uuid4().hex[:8]}", vnet_id=VNET, limits=Limits(limit=limit))
    return await quotas.write(quota, Draft(entries=ledger))


async def test_the_ledger_of_the_largest_cluster_is_written_at_once_and_entry_by_entry(quotas: KubeQuotas) -> None:
    each = 12
    ledger = entries(KUBERNETES_MOST, "scale set", each=each)
    quota = await _written(quotas, ledger, limit=KUBERNETES_MOST * each)
    assert (len(quota.entries), quota.granted) == (KUBERNETES_MOST, KUBERNETES_MOST * each)
    name, entry = next(iter(ledger.items()))
    with pytest.raises(KubeInvalid, match=r"spec\.limit"):
        await quotas.write(quota, Draft(entries={name: LedgerEntry(each + 1, 99, entry.nic)}))
    quota = await quotas.write(quota, Draft(entries={name: LedgerEntry(each - 1, 99, entry.nic)}))
    assert quota.granted == KUBERNETES_MOST * each - 1
    await quotas.delete(quota)


async def test_as_many_entries_as_the_definition_has_are_taken_and_summed(quotas: KubeQuotas) -> None:
    """The rule about the sum has a budget of the API server's, which a map of this size does not use up."""
    quota = await _written(quotas, entries(MOST, "plain", each=7), limit=MOST * 7)
    assert (len(quota.entries), quota.granted) == (MOST, MOST * 7)
    with pytest.raises(KubeInvalid, match=r"spec\.limit"):
        await quotas.write(quota, Draft(entries={"node-0000": LedgerEntry(8, 99, "azbox/node-0000-nic")}))
    await quotas.delete(quota)


async def test_a_ledger_that_etcd_does_not_take_is_refused_whole_and_the_one_before_stays(quotas: KubeQuotas) -> None:
    """The longest names that there may be: 575 bytes an entry, of which 2,700 fit. It is no outage of the API server:
    the writer of the ledger then writes what still fits.
    """
    quota = await _written(quotas, entries(2000, "longest", each=1), limit=5000)
    for count, words in ((3000, "request is too large"), (4000, "message larger than max")):
        with pytest.raises(KubeInvalid, match=words):
            await quotas.write(quota, Draft(entries=entries(count, "longest", each=1)))
    kept = await quotas.read(quota.name)
    assert kept is not None
    assert (len(kept.entries), kept.granted) == (2000, 2000)
    await quotas.delete(kept)


def test_the_names_are_of_the_lengths_that_are_said() -> None:
    assert {kind: len(one(0)[0]) for kind, one in NAMES.items()} == {"plain": 9, "scale set": 33, "longest": 253}
