"""What a real API server makes of a NodeIPPool's status by our definition: the longest that the product writes is kept
whole, and what nobody of the product writes is refused or dropped.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from azure_cni.errors import KubeInvalid
from azure_cni.kube.client import KubeClient
from azure_cni.kube.pools import COLLECTION, GROUP_VERSION
from contract.kube_world import Place
from unit.chart.longest_pool import statuses
from unit.chart.test_bounds import without_nulls

MEGABYTE = "x" * 2**20


class Pool:
    """One in the API server."""

    def __init__(self, client: KubeClient, name: str) -> None:
        self._client = client
        self.path = f"{COLLECTION}/{name}"

    async def written(self, status: dict[str, Any]) -> dict[str, Any]:
        """The status after a merge patch."""
        answer = await self._client.merge_patch(f"{self.path}/status", {"status": status})
        return dict(answer["status"])

    async def metadata_after(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """The metadata after a patch of the status that brings some."""
        patch = {"metadata": metadata, "status": {"waiting": 3}}
        return dict((await self._client.merge_patch(f"{self.path}/status", patch))["metadata"])


@pytest.fixture
async def pool(apiserver: Place) -> AsyncIterator[Pool]:
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as client:
        name = f"bounds-{uuid.uuid4().hex[:8]}"
        await client.create(
            COLLECTION, {"apiVersion": GROUP_VERSION, "kind": "NodeIPPool", "metadata": {"name": name}, "spec": {}}
        )
        yield Pool(client, name)


async def test_the_longest_that_the_product_writes_is_kept_whole(pool: Pool) -> None:
    """One after the other into the same object, so that each is merged into what the one before has left."""
    for status in statuses():
        kept = await pool.written(status)
        for name, value in without_nulls(json.loads(json.dumps(status))).items():
            found = {key: kept[name][key] for key in value} if isinstance(value, dict) else kept[name]
            assert found == value, name


REFUSED: dict[str, dict[str, Any]] = {
    "a reason of the last write": {"lastWrite": {"reason": MEGABYTE}},
    "its ETag": {"lastWrite": {"etag": MEGABYTE}},
    "its result": {"lastWrite": {"result": MEGABYTE}},
    "its time": {"lastWrite": {"time": f"2026-11-29T03:00:00.{'0' * 2**20}Z"}},
    "a request to read": {"lastRead": {"request": MEGABYTE}},
    "an attested document": {"nicOperation": {"id": 1, "document": "A" * 2**20}},
    "a kind of operation": {"nicOperation": {"id": 1, "kind": MEGABYTE}},
    "ten thousand MACs": {"nicOperation": {"id": 1, "macs": ["00:0d:3a:1b:c7:21"] * 10_000}},
    "ten thousand changes": {"nicOperation": {"id": 1, "attach": [{"config": "azure-cni-1abcdefg"}] * 10_000}},
    "IDs that are too long together": {"nicOperation": {"id": 1, "resources": ["/" + "x" * 500] * 1000}},
    "the same, as what pods have attached": {"vnetAttachments": ["/" + "x" * 500] * 1000},
    "addresses of six bytes a character": {"vnetAddresses": ["<" * 90] * 256},
    "twenty conditions": {
        "conditions": [
            {"type": f"C{number}", "status": "True", "reason": "R", "lastTransitionTime": "2026-11-29T03:00:00Z"}
            for number in range(20)
        ]
    },
}


@pytest.mark.parametrize("status", REFUSED.values(), ids=REFUSED)
async def test_a_megabyte_is_refused_wherever_it_is_written(pool: Pool, status: dict[str, Any]) -> None:
    with pytest.raises(KubeInvalid, match=r"Too long|Too many|Invalid value"):
        await pool.written(status)


async def test_what_the_definition_does_not_name_is_dropped(pool: Pool) -> None:
    parts = [{"part": "x"}] * 70_000
    kept = await pool.written({"nicOperation": {"id": 7, "kind": "none", "parts": parts, "attach": [{"parts": parts}]}})
    assert kept == {"nicOperation": {"id": 7, "kind": "none", "attach": [{}]}}
    kept = await pool.written({"nicOperationResult": {"id": 7, "nic": {"parts": parts}}, "parts": parts})
    assert kept["nicOperationResult"] == {"id": 7, "nic": {}}
    assert "parts" not in kept


async def test_nulls_remove_what_was_there_and_leave_nothing(pool: Pool) -> None:
    """The documents of operations and results name each field: also of objects that were not there before."""
    error = {"reason": "Throttled", "message": "wait", "azureCode": "", "retryAfterS": None}
    kept = await pool.written({"nicOperationResult": {"id": 1, "error": error, "nic": None, "vnet": None}})
    del error["retryAfterS"]
    assert kept["nicOperationResult"] == {"id": 1, "error": error}
    kept = await pool.written({"nicOperationResult": {"id": 2, "error": None, "nic": {"id": "n"}}})
    assert kept["nicOperationResult"] == {"id": 2, "nic": {"id": "n"}}


async def test_what_is_written_beside_the_status_is_left_aside(pool: Pool) -> None:
    """An agent may patch the status alone; Kubernetes itself says what of an object it drops then."""
    fields = {f"f:x{number}": {} for number in range(60_000)}
    owned = {"manager": "m", "operation": "Update", "apiVersion": GROUP_VERSION, "fieldsType": "FieldsV1"}
    metadata = {
        "annotations": {"a": "x" * 200_000},
        "labels": {f"x{number}": "y" for number in range(10_000)},
        "finalizers": [f"example.com/{number}" for number in range(10_000)],
        "managedFields": [owned | {"fieldsV1": {"f:status": fields}, "subresource": "status"}],
    }
    assert len(json.dumps(await pool.metadata_after(metadata))) < 2000
