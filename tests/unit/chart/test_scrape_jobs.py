"""Whom a real Prometheus scrapes, and shows its token to, by the job of docs/metrics.md: nobody but ours."""

import asyncio
import contextlib
import json
import re
import shutil
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from azurebox.discovery import targets
from fakes.serving import serve
from fakes.waiting import PATIENCE_S, until
from unit.chart.helm import REPOSITORY, of_kind

METRICS = (REPOSITORY / "docs" / "metrics.md").read_text()
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", METRICS, re.MULTILINE | re.DOTALL)
]
JOBS = [job for block in BLOCKS for job in block.get("scrape_configs", ())]
SECRET = "Bearer token-of-the-scraper"
OURS = {"kube-system/azure-cni-agent-x2x7k": "DaemonSet", "kube-system/azure-cni-controller-5d9c-b7z2p": "ReplicaSet"}
OTHERS = {
    "dev/azure-cni-agent-evil1": "DaemonSet",  # a tenant's: everything but the namespace is as ours
    "dev/azure-cni-agent-evil2": "",
    "kube-system/azure-cni-controller-mirror": "Node",  # the only owner that the API server takes from a kubelet
    "kube-system/azure-cni-agent-bare": "",
}


class Asked:
    """A server for each pod, which notes who was shown the token."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def pod(self, name: str) -> AsyncIterator[int]:
        async def answer(request: web.Request) -> web.Response:
            self.tokens[name] = request.headers.get("Authorization", "")
            return web.Response(text="azure_cni_pool_ready 1\n")

        app = web.Application()
        app.router.add_get("/metrics", answer)
        async with serve(app) as port:
            yield port


def a_pod(name: str, owner: str, port: int) -> dict[str, Any]:
    """With the labels and annotations of an agent, on loopback."""
    namespace, _, name = name.partition("/")
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": name,
        "labels": {"app.kubernetes.io/name": "azure-cni", "app.kubernetes.io/component": "agent"},
        "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)},
        "ownerReferences": [{"kind": owner, "name": "owner", "controller": True}] if owner else [],
    }
    return {
        "metadata": metadata,
        "spec": {"nodeName": "vm1"},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    }


def discovered(job: dict[str, Any], pods: list[dict[str, Any]]) -> list[dict[str, object]]:
    """What Prometheus' discovery hands to the job's relabelling: Debian's is built without it."""
    (discovery,) = job["kubernetes_sd_configs"]
    assert discovery.keys() <= {"role", "namespaces"}
    assert discovery["role"] == "pod"
    among = discovery.get("namespaces", {}).get("names")
    return targets({"items": [pod for pod in pods if among is None or pod["metadata"]["namespace"] in among]})


@contextlib.asynccontextmanager
async def prometheus(job: dict[str, Any], directory: Path) -> AsyncIterator[str]:
    """Runs with this one job; the URL of its API."""
    file = directory / "prometheus.yaml"
    file.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    process = await asyncio.create_subprocess_exec(
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'db'}",
        "--web.listen-address=127.0.0.1:0", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            said = b""
            while not (found := re.search(rb'msg="Listening on" address=(\S+:[1-9]\d*)', said)):
                line = await process.stderr.readline()
                assert line, said.decode()
                said += line
        rest = asyncio.create_task(process.stderr.read())  # so that it never waits for a reader
        yield f"http://{found[1].decode()}"
        rest.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and its last words are in the error
            process.terminate()
        await process.wait()


async def active_targets(url: str) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{url}/api/v1/targets?state=active", timeout=PATIENCE_S) as reply:
            found: list[dict[str, Any]] = json.load(reply)["data"]["activeTargets"]
            return found

    return await asyncio.to_thread(read)


def test_there_is_one_job_and_lines_for_tokens_to_add_to_it():
    assert [job["job_name"] for job in JOBS] == ["azure-cni"]
    assert len([block for block in BLOCKS if "authorization" in block]) == 1


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is missing: `e2e/box packages` installs it")
async def test_no_pod_but_ours_is_scraped_or_shown_the_token(tmp_path: Path):
    """Neither a tenant's with our labels, nor one that a node made in our namespace."""
    (authorized,) = (block["authorization"] for block in BLOCKS if "authorization" in block)
    assert list(authorized) == ["credentials_file"]
    (tmp_path / "token").write_text(SECRET.removeprefix("Bearer "))
    asked = Asked()
    async with contextlib.AsyncExitStack() as stack:
        pods = [
            a_pod(name, owner, await stack.enter_async_context(asked.pod(name)))
            for name, owner in {**OTHERS, **OURS}.items()
        ]
        (tmp_path / "found.json").write_text(json.dumps(discovered(JOBS[0], pods)))
        job = {key: value for key, value in JOBS[0].items() if key != "kubernetes_sd_configs"} | {
            "file_sd_configs": [{"files": [str(tmp_path / "found.json")]}],
            "authorization": {"credentials_file": str(tmp_path / "token")},
        }
        url = await stack.enter_async_context(prometheus(job, tmp_path))
        await until(lambda: asked.tokens.keys() >= OURS.keys(), within_s=PATIENCE_S, say=lambda: asked.tokens)
        found = [target["labels"] for target in await active_targets(url)]
    assert sorted(f"{one['namespace']}/{one['pod']}" for one in found) == sorted(OURS)
    assert {one["job"] for one in found} == {"azure-cni"}
    assert {one["node"] for one in found} == {"vm1"}
    assert asked.tokens == dict.fromkeys(OURS, SECRET)


@pytest.mark.parametrize(("process", "owner"), [("agent", "DaemonSet"), ("controller", "ReplicaSet")])
def test_a_service_monitor_scrapes_only_what_the_charts_objects_own(process: str, owner: str):
    monitor = of_kind("ServiceMonitor", "metrics.serviceMonitor.enabled=true", name=f"azure-cni-{process}")
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["kube-system"]}
    assert {
        "sourceLabels": ["__meta_kubernetes_pod_controller_kind"], "regex": owner, "action": "keep",
    } in monitor["spec"]["endpoints"][0]["relabelings"]  # fmt: skip
