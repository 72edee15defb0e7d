"""What is kept of a list of pods, and what of memory a list of large ones takes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from azure_cni.errors import KubeUnreachable
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.lean_pods import lean
from azure_cni.kube.pods import KubePods
from azure_cni.node.demand import pod_of
from fakes.kubewatch import PODS, POOLS, FakeWatchServer

OPERATOR = Path(__file__).parents[3] / "operator"


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
        {"metadata": []},
    ],
)
def test_a_lean_pod_means_what_the_whole_one_means(body: dict[str, Any]) -> None:
    found = lean(json.dumps(body).encode())
    assert found is not None
    assert pod_of(found) == pod_of(body)
    assert len(json.dumps(found)) < 400


@pytest.mark.parametrize("item", [b"{", b"[1]", b"\xff", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_what_cannot_be_read_is_left_aside(item: bytes) -> None:
    assert lean(item) is None


async def test_a_page_of_a_proxy_is_no_empty_list() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>please log in</html>")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with KubeClient(KubeEndpoint(f"http://127.0.0.1:{runner.addresses[0][1]}")) as client:
            with pytest.raises(KubeUnreachable, match="it is not JSON"):
                await KubePods(client, node_name="vm1").list()
    finally:
        await runner.cleanup()


READER = """
import asyncio, pathlib, re, sys
from azure_cni.entrypoints import node_watch
from azure_cni.entrypoints.watch import Watches
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.pods import KubePods

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

class Seen:
    pods = set()
    def pool_seen(self, body): pass
    def pool_gone(self): pass
    def pod_seen(self, body): self.pods.add(body["metadata"]["uid"])
    def pod_gone(self, uid): self.pods.discard(uid)

async def main(url, number):
    seen = Seen()
    watches = Watches(
        KubeEndpoint(url), registry=lambda post: node_watch.registry_for(seen, post),
        settings=lambda: node_watch.settings_of("vm1"), faults=Faults(lambda _: None),
    )
    before = peak()
    task = asyncio.create_task(watches.run())
    async with asyncio.timeout(50):
        while len(seen.pods) < number:
            await asyncio.sleep(0.05)
        async with KubeClient(KubeEndpoint(url)) as client:
            assert len(await KubePods(client, node_name="vm1").list()) == number
    task.cancel()
    print((peak() - before) // 1024)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
"""Lists by kopf and by us, in a process of its own; prints by how many MiB its memory grew at most."""


LARGE_PODS = 30


async def test_pods_of_many_megabytes_are_listed_in_little_memory() -> None:

    large = {"note": "x" * 400_000, "list": [{"name": f"v{n}", "value": 'a "quoted" value'} for n in range(7000)]}
    server = FakeWatchServer()
    async with server.serve() as url:
        await server.put(POOLS, "vm1", spec={})
        for number in range(LARGE_PODS):
            await server.put(PODS, f"web-{number}", spec=large)
        reader = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            READER,
            url,
            str(LARGE_PODS),
            env=os.environ | {"PYTHONPATH": str(OPERATOR)},
            stdout=subprocess.PIPE,
        )
        output, _ = await reader.communicate()
    assert reader.returncode == 0
    assert int(output) <= 30
