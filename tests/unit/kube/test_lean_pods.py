"""What is kept of a list of pods, and what of memory a list of large ones takes."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from azure_cni.api.egress import EGRESS
from azure_cni.api.pod_annotations import LOAD_BALANCER_POOLS, PUBLIC_IP
from azure_cni.errors import KubeUnreachable
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.lean_objects import lean_namespace, lean_pod
from azure_cni.kube.nodes import KubePods
from azure_cni.node.pods.demand import pod_of
from fakes.kubeapi import PODS, POOLS, FakeKubeAPI
from fakes.serving import answering
from fakes.waiting import background
from unit.kube.readers import grown_mib


def pod(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}, **more}


@pytest.mark.parametrize(
    "body",
    [
        pod("p"),
        pod("p", spec={"hostNetwork": True, "containers": [{"name": "c"}]}),
        pod("p", status={"phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}]}),
        pod("p", status={"phase": "Failed"}),
        {"metadata": pod("p")["metadata"] | {"annotations": {"kubernetes.io/config.mirror": "m", "a": "b"}}},
        {"metadata": pod("p")["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z", "annotations": None}},
        pod("p", status={"podIP": None, "phase": 7}),
        pod("p", spec=None, status="none"),
        {"metadata": pod("p")["metadata"] | {"annotations": {"kubernetes.io/config.mirror": 7}}},
        {"metadata": pod("p")["metadata"] | {"annotations": {EGRESS: "pod"}}},
        {"metadata": pod("p")["metadata"] | {"annotations": {EGRESS: "x" * 200_000}}},
        {"metadata": pod("p")["metadata"] | {"annotations": {EGRESS: "x" * 200_000}}, "spec": None},
        {"metadata": []},
        {"metadata": pod("p")["metadata"] | {"annotations": {"azure-cni.io/public-ip": "x", "other": "y" * 9000}}},
        {"metadata": pod("p")["metadata"] | {"annotations": {"azure-cni.io/public-ip": "x", "other": 7}}},
        {"metadata": pod("p")["metadata"] | {"annotations": {"azure-cni.io/load-balancer-pools": "a,b"}}, "spec": 7},
    ],
)
def test_a_lean_pod_means_what_the_whole_one_means(body: dict[str, Any]) -> None:
    found = lean_pod(json.dumps(body).encode())
    assert found is not None
    assert pod_of(found) == pod_of(body)
    assert len(json.dumps(found)) < 400


def test_of_a_namespace_only_its_name_and_that_annotation_are_kept() -> None:
    body = {"metadata": {"name": "shop", "uid": "u", "annotations": {EGRESS: "x" * 200_000, "a": "b"}}, "spec": {}}
    found = lean_namespace(json.dumps(body).encode())
    assert found == {"metadata": {"name": "shop", "uid": "u", "annotations": {EGRESS: "x" * 64}}}
    assert lean_namespace(b'{"metadata": []}') is None


@pytest.mark.parametrize("item", [b"{", b"[1]", b"\xff", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_what_cannot_be_read_is_left_aside(item: bytes) -> None:
    assert lean_pod(item) is None


def test_an_annotation_of_a_quarter_megabyte_is_cut_and_still_no_list_of_pools() -> None:
    """A node may have 250 such pods."""
    pools = ",".join(f"/subscriptions/{number}" for number in range(12_000))
    body = pod("a")
    body["metadata"]["annotations"] = {LOAD_BALANCER_POOLS: pools, PUBLIC_IP: "x" * 200_000}
    kept = lean_pod(json.dumps(body).encode())
    assert kept is not None
    assert len(json.dumps(kept)) < 40_000
    found = pod_of(kept)
    assert found is not None
    assert len(found.annotations.faults) == 2
    assert not found.annotations.resources


async def test_a_page_of_a_proxy_is_no_empty_list() -> None:
    async with answering(b"<html>please log in</html>") as url, KubeClient(KubeEndpoint(url)) as client:
        with pytest.raises(KubeUnreachable, match="it is not JSON"):
            await KubePods(client, node_name="vm1").list()


READER = """
import asyncio, pathlib, re, sys
from azure_cni.watch import node_watch
from azure_cni.watch.kopf_runner import Watches
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.nodes import KubePods

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

class Seen:
    pods, events = set(), 0
    def pool_seen(self, body): pass
    def pool_gone(self): pass
    def pod_seen(self, body):
        self.pods.add(body["metadata"]["uid"])
        self.events += 1
    def pod_gone(self, uid): self.pods.discard(uid)

async def main(url, token, number):
    seen = Seen()
    watches = Watches(
        KubeEndpoint(url, token=token), registry=lambda post: node_watch.registry_for(seen, post),
        settings=lambda: node_watch.settings_of("vm1"), faults=Faults(lambda _: None),
    )
    before = peak()
    task = asyncio.create_task(watches.run())
    async with asyncio.timeout(300):  # it takes 5 s where nothing else runs
        while len(seen.pods) < number:
            await asyncio.sleep(0.05)
        async with KubeClient(KubeEndpoint(url, token=token)) as client:
            assert len(await KubePods(client, node_name="vm1").list()) == number
    async with asyncio.timeout(50):
        while seen.events < 3 * number:
            await asyncio.sleep(0.05)
    task.cancel()
    print((peak() - before) // 1024)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
"""Lists by kopf and by us, then more changes, in a process of its own; prints by how many MiB its memory grew."""


LARGE_PODS = 30


async def test_pods_of_many_megabytes_are_listed_and_watched_in_little_memory() -> None:
    large = {"note": "x" * 400_000, "list": [{"name": f"v{n}", "value": 'a "quoted" value'} for n in range(7000)]}
    server = FakeKubeAPI()
    async with server.serve() as url:
        server.put(POOLS, "vm1", spec={})
        for number in range(LARGE_PODS):
            server.put(PODS, f"web-{number}", spec={"nodeName": "vm1", **large})
        async with background(changing(server, large)):
            assert await grown_mib(READER, url, LARGE_PODS) <= 30


async def changing(server: FakeKubeAPI, spec: dict[str, Any]) -> None:
    """Its owner changes one pod, and whoever has the agent's token the pool of its node, again and again."""
    for turn in itertools.count():
        server.put(POOLS, "vm1", spec={}, status={"requestID": turn, "nicOperation": spec})
        server.put(PODS, "web-0", spec={"nodeName": "vm1", **spec}, metadata={"annotations": {"turn": f"{turn}"}})
        await asyncio.sleep(0.1)


async def test_a_list_whose_pages_begin_again_is_an_error():
    """A proxy in between leaves out the query. Read on and on, the list would fill the memory."""
    page = b'{"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "first"}}]}'
    async with answering(page) as url, KubeClient(KubeEndpoint(url)) as client:
        with pytest.raises(KubeUnreachable, match="its next page is one that was read before"):
            _ = [one async for one in client.items("/api/v1/pods")]
