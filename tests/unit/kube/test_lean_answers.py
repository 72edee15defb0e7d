"""How much of an answer is read, and what of memory lists of large pools take."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from azure_cni.api import nic_operation
from azure_cni.api.node_ip_pool import parse
from azure_cni.api.operation_result_codec import read_challenge, read_identified, read_used_grant
from azure_cni.errors import KubeUnreachable
from azure_cni.kube.client import KubeClient, KubeEndpoint, open_session
from azure_cni.kube.lean_answers import MAX_BYTES, WatchEvents, lean_event, lean_of
from azure_cni.kube.lean_objects import (
    LONGEST_VALUE,
    NAMESPACES,
    PODS,
    POOLS,
    lean_namespace,
    lean_pod,
    lean_pool,
    own_pool,
)
from azure_cni.kube.streamed_list import MAX_ITEM_BYTES
from azure_cni.quota.node_record import node_record
from fakes.cluster import FakeCluster
from fakes.kubeapi import FakeKubeAPI
from fakes.serving import answering, answering_without_end
from fakes.waiting import background
from unit.kube.readers import grown_mib

FULL = {
    "vmID": "guid", "macAddress": "00:0d:3a:00:00:01", "primaryIP": "10.0.0.4",
    "requested": 32, "requestID": 2**40, "writeIntent": "Grow", "waiting": 3, "granted": 16, "grantedFor": 2**40 - 1,
    "grantReason": "Throttled", "grantMessage": "x" * 32768, "grantNotBefore": "2026-01-01T00:00:00Z",
    "allocated": 16, "assigned": 12, "free": 4, "cooling": 1, "target": 32, "throttledUntil": "2026-01-01T00:01:00Z",
    "vnetAddresses": [f"10.0.0.{n} azure-cni-0000000{n}" for n in range(9)],
    "excluded": ["x" * 1024] * 256,
    "conditions": [{"type": "Ready", "message": "x" * 32768}],
    "nicOperation": {"id": 7, "kind": "write", "remove": ["x" * 1024] * 256},
    "nicOperationResult": {"id": 6, "usedGrant": 5, "challenge": "0123456789", "nic": {"configs": ["x" * 1024] * 256},
               "identity": {"vmId": "guid", "attested": True, "nic": "x" * 1024}},
}  # fmt: skip


def pool(**status: Any) -> dict[str, Any]:
    """As an agent and a controller wrote it, each as much as it may."""
    cluster = FakeCluster()
    cluster.node("n", **{"number": 1, **FULL, **status})
    body = cluster.pools.objects["n"]
    body["metadata"]["annotations"] = {"note": "x" * 200_000}
    body["spec"] = {"note": "x" * 200_000}
    return body


ODD: list[dict[str, Any]] = [
    {},
    {"requested": "x", "requestID": None, "writeIntent": ["Grow"], "vnetID": 7, "throttledUntil": {}},
    {"nicOperation": "x", "nicOperationResult": [1]},
    {"nicOperation": {"id": "7"}, "nicOperationResult": {"id": None, "identity": "x", "usedGrant": True}},
    {"nicOperation": None, "nicOperationResult": {"identity": {"vmId": ["x"], "attested": "yes"}}},
]


@pytest.mark.parametrize("status", ODD)
def test_a_lean_pool_means_what_the_whole_one_means(status: dict[str, Any]) -> None:
    body = pool(**status)
    found = lean_pool(json.dumps(body).encode())
    assert found is not None
    lean_one, whole = parse(found), parse(body)
    assert node_record(lean_one, now_s=0.0) == node_record(whole, now_s=0.0)
    for read in (nic_operation.pending, read_identified, read_challenge, read_used_grant):
        assert read(lean_one) == read(whole)
    assert len(json.dumps(found)) < 2500


def test_a_value_of_a_megabyte_is_left_out() -> None:
    found = lean_pool(json.dumps(pool(vnetID="x" * 10**6, grantReason="x" * (LONGEST_VALUE + 1))).encode())
    assert found is not None
    assert not {"vnetID", "grantReason"} & set(found["status"])


@pytest.mark.parametrize("body", [{"metadata": []}, {"status": "x"}, {"metadata": {"name": "n"}, "status": None}, {}])
def test_a_pool_of_any_shape_is_taken_apart(body: dict[str, Any]) -> None:
    found = lean_pool(json.dumps(body).encode())
    assert found is not None
    assert node_record(parse(found), now_s=0.0) == node_record(parse(body), now_s=0.0)


@pytest.mark.parametrize("item", [b"{", b"[1]", b"\xff", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_what_is_no_object_is_left_aside(item: bytes) -> None:
    assert lean_pool(item) is None


def test_an_agent_sees_all_of_its_own_pool() -> None:
    body = pool(nicOperationResult={"id": 6, "nic": {"configs": ["x" * 64] * 256}})
    body["metadata"]["annotations"] = {"azure-cni.io/read-now": "7"}
    body["spec"] = {"size": 32}
    body["status"] |= {"excluded": [], "nicOperation": None, "conditions": [{"type": "Ready", "message": "x" * 1000}]}
    assert own_pool(json.dumps(body).encode()) == body


def test_of_its_own_pool_that_no_agent_wrote_an_agent_sees_what_is_small() -> None:
    body = pool(nicOperation={"id": 7, "remove": [{"name": f"v{number}"} for number in range(50_000)]})
    found = own_pool(json.dumps(body).encode())
    assert found is not None
    assert body["status"].keys() - found["status"].keys() == {"nicOperation", "excluded", "nicOperationResult"}
    assert (found["metadata"], found["spec"]) == (body["metadata"], body["spec"])


@pytest.mark.parametrize("item", [b"7", b"[]", b"{", b'{"status":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_what_is_no_pool_no_agent_sees(item: bytes) -> None:
    assert own_pool(item) is None


@pytest.mark.parametrize(
    ("path", "parameters", "expected"),
    [
        (PODS, ["fieldSelector"], lean_pod),
        (NAMESPACES, [], lean_namespace),
        (NAMESPACES, ["watch"], lean_namespace),
        (f"{NAMESPACES}/shop", [], None),
        (POOLS, ["limit"], lean_pool),
        (POOLS, ["limit", "continue"], lean_pool),
        (POOLS, ["fieldSelector"], own_pool),
        (POOLS, ["watch"], lean_pool),
        (PODS, ["watch", "fieldSelector"], lean_pod),
        (POOLS, ["watch", "fieldSelector"], own_pool),
        (f"{POOLS}/n", [], None),
    ],
)
def test_which_answers_are_taken_apart(path: str, parameters: list[str], expected: Any) -> None:
    assert lean_of("GET", path, parameters) is expected
    assert lean_of("POST", path, parameters) is None  # an object that is made there


@pytest.mark.parametrize("path", ["/api/v1/nodes/vm1", f"{POOLS}/vm1", "/api/v1/services"])
async def test_an_answer_without_end_is_read_up_to_a_limit(path: str) -> None:
    async with (
        answering_without_end(b'{"metadata": {"name": "', b"x" * 2**20) as (url, taken),
        KubeClient(KubeEndpoint(url)) as client,
    ):
        with pytest.raises(KubeUnreachable, match="more than 32 MiB"):
            await client.get(path)
    assert max(taken) < 2 * MAX_BYTES


async def test_a_large_answer_is_read() -> None:
    body = json.dumps({"status": {"note": "x" * (MAX_BYTES - 100)}}).encode()
    async with answering(body) as url, KubeClient(KubeEndpoint(url)) as client:
        assert len((await client.get("/api/v1/nodes/vm1"))["status"]["note"]) == MAX_BYTES - 100


LONG = "x" * 100_000
EVENTS = [
    {"type": "ADDED", "object": pool()},
    {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}},
    {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": LONG}},
    {"type": "DELETED", "object": pool(vnetID=LONG)},
]


class Pieces(aiohttp.StreamReader):
    """A stream that comes in pieces of that number of bytes."""

    def __init__(self, content: bytes, size: int) -> None:
        self.pieces = [content[start : start + size] for start in range(0, len(content), size)]

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:  # type: ignore[override]
        for piece in self.pieces:
            yield piece


@pytest.mark.parametrize("size", [7, 1000, 2**16, 2**20])
@pytest.mark.parametrize("end", [b"\n", b""], ids=["ended", "cut"])
async def test_events_of_a_watch_are_lean_wherever_it_is_cut(size: int, end: bytes) -> None:
    content = b"\n".join(json.dumps(event).encode() for event in EVENTS) + end
    seen = [json.loads(line) async for line in WatchEvents(Pieces(content, size), lean_pool).iter_chunked(2**20)]
    expected = [dict(event) for event in EVENTS]
    for event in (expected[0], expected[3]):
        event["object"] = lean_pool(json.dumps(event["object"]).encode())
    assert seen == (expected if end else expected[:3])


async def test_events_of_other_watches_come_as_they_are() -> None:
    content = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
    seen = b"".join([line async for line in WatchEvents(Pieces(content, 999), None).iter_chunked(2**20)])
    assert seen == content


@pytest.mark.parametrize("line", [b"<html>", b"{}", b'{"type":"ADDED"}', b"[]", b"\xff"])
def test_what_is_no_event_is_left_to_who_watches(line: bytes) -> None:
    assert lean_event(line, lean_pool) == line


@pytest.mark.parametrize("what", [b"[]", b"7", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_an_event_about_what_is_no_pool_is_left_out(what: bytes) -> None:
    """Or it would end the watch of all others: what is nested so deeply passes the API server, and no parser."""
    assert lean_event(b'{"type":"MODIFIED","object":' + what + b"}", lean_pool) is None


@pytest.mark.parametrize("path", [POOLS, f"{PODS}?fieldSelector=spec.nodeName%3Dvm1", f"{POOLS}?fieldSelector=a%3Db"])
async def test_an_event_without_end_is_read_up_to_a_limit(path: str) -> None:
    async with (
        answering_without_end(b'{"type":"ADDED","object":{"metadata":{"name":"', b"x" * 2**20) as (url, taken),
        open_session(KubeEndpoint(url)) as session,
        session.get(f"{url}{path}{'&' if '?' in path else '?'}watch=true") as response,
    ):
        with pytest.raises(aiohttp.ClientPayloadError, match="more than 8 MiB"):
            async for _ in response.content.iter_chunked(2**20):
                pass
    assert max(taken) < 4 * MAX_ITEM_BYTES


READER = """
import asyncio, pathlib, re, sys
from azure_cni.watch import cluster_watch
from azure_cni.watch.kopf_runner import Watches
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.pools import KubeMemberPools

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

class Seen:
    pools, events = set(), 0
    def pool_seen(self, pool):
        self.pools.add(pool.version.uid)
        self.events += 1
    def pool_gone(self, name, uid): pass
    def quota_seen(self, body): pass
    def quota_gone(self, name): pass

async def main(url, token, number):
    seen = Seen()
    watches = Watches(
        KubeEndpoint(url, token=token), registry=lambda post: cluster_watch.registry_for(seen, post),
        settings=cluster_watch.settings, faults=Faults(lambda _: None),
    )
    before = peak()
    task = asyncio.create_task(watches.run())
    async with asyncio.timeout(300):  # it takes 5 s where nothing else runs
        while len(seen.pools) < number:
            await asyncio.sleep(0.05)
        async with KubeClient(KubeEndpoint(url, token=token)) as client:
            assert len([body async for body in KubeMemberPools(client).walk()]) == number
    async with asyncio.timeout(50):
        while seen.events < 2 * number:
            await asyncio.sleep(0.05)
    task.cancel()
    print((peak() - before) // 1024)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
"""Lists by kopf and by us, then as many changes, in a process of its own; prints by how many MiB its memory grew."""

LARGE_POOLS = 40


async def test_pools_of_a_megabyte_are_listed_and_watched_in_little_memory() -> None:
    """What an agent may write into its own: an operation of any content, in any number of parts."""
    large = {
        "id": 1,
        "kind": "x" * 300_000,
        "remove": [{"name": f"v{n}", "it": 'a "quoted" value'} for n in range(9000)],
    }
    server = FakeKubeAPI()
    async with server.serve() as url:
        for number in range(LARGE_POOLS):
            server.put(POOLS, f"n{number}", status={"nicOperation": large})
        async with background(changing(server, large)):
            assert await grown_mib(READER, url, LARGE_POOLS) <= 30


async def changing(server: FakeKubeAPI, operation: dict[str, Any]) -> None:
    """One pool, as fast as an API server takes it."""
    for turn in itertools.count():
        server.put(POOLS, "n0", status={"nicOperation": operation, "requestID": turn})
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("value", [b'"' + b"\xfc" + b'"', b"[" * 900 + b"]" * 900], ids=["no UTF-8", "nested"])
def test_a_field_that_cannot_be_read_is_left_out_and_ends_no_list(value: bytes):
    item = b'{"metadata": {"name": "vm1"}, "status": {"vmID": ' + value + b', "requested": 4}}'
    assert lean_pool(item) == {"metadata": {"name": "vm1"}, "status": {"requested": 4}}
