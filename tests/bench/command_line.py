"""How long a person waits for `azure-cni`, from start to output, beside `kubectl get`, in turns in one run.

    PYTHONPATH=operator:tests:e2e python -m bench cli [--rounds 20] [--json FILE]

Both installations are measured, the wheel and the one file, on a small API server on loopback with 20 nodes and 60
pods. How long that server itself takes is measured beside, by the same requests of one client. Nothing passes or fails
by a time. CPU seconds are the ones to compare, because other work on the machine makes them longer by less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from azurebox import tools
from fakes.installed_command import Installed, from_wheel, one_file
from fakes.kubeapi import NODES, PODS, POOLS, QUOTAS, TOKEN, FakeKubeAPI

NODE_COUNT, PODS_EACH = 20, 3
VNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/vnet"
COMMANDS = (("status",), ("check",), ("why",), ("who", "10.240.0.12"), ("addresses",))
AIM_S = 0.5
"""From start to output, beside the API's own time."""


@dataclass
class Subject:
    """A command line, and what each run of it took."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    api_s: list[float] = field(default_factory=list)

    def run(self, api: FakeKubeAPI) -> None:
        """Once, to its end."""
        api.requests.clear()
        began = time.perf_counter()
        child = subprocess.Popen(self.words, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        complaint = child.stderr.read() if child.stderr else b""
        _, status, used = os.wait4(child.pid, 0)
        self.wall_s.append(time.perf_counter() - began)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in {0, 1}:
            raise RuntimeError(f"{self.name} ended with {child.returncode}: {complaint.decode(errors='replace')}")
        self.cpu_s.append(used.ru_utime + used.ru_stime)
        self.api_s.append(_asked_again(api))


def _asked_again(api: FakeKubeAPI) -> float:
    """Seconds for the same requests, one after the other."""
    requests = [(one.path, urlencode(one.query)) for one in api.requests if one.method == "GET"]
    began = time.perf_counter()
    for path, query in requests:
        wanted = urllib.request.Request(f"{api.url}{path}?{query}", headers={"Authorization": f"Bearer {TOKEN}"})
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(wanted) as answer:
            answer.read()
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(prog="bench cli", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20, help="default 20, 2 to 200")
    parser.add_argument("--json", type=Path, help="where to write the figures, in seconds")
    options = parser.parse_args(arguments)
    if not 2 <= options.rounds <= 200:
        parser.error("--rounds must be 2 to 200")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch, served() as api:
        found = list(_subjects(Path(scratch), api.url))
        for subject in found:
            subject.run(api)  # what is unpacked, compiled and cached once
        for one in found:
            one.wall_s, one.cpu_s, one.api_s = [], [], []
        for _ in range(options.rounds):
            for subject in found:
                subject.run(api)
    print(table(found))
    if options.json:
        figures = {one.name: {"wall": one.wall_s, "cpu": one.cpu_s, "api": one.api_s} for one in found}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def table(found: Sequence[Subject]) -> str:
    """Milliseconds, one line for each subject."""
    lines = [f"{'ms':34} {'p50':>7} {'p10':>7} {'CPU p50':>8} {'API':>7}"]
    for one in found:
        figures = (statistics.median(one.wall_s), _tenth(one.wall_s), statistics.median(one.cpu_s))
        values = [f"{1000 * value:.0f}" for value in (*figures, statistics.median(one.api_s))]
        lines.append(f"{one.name:34} {values[0]:>7} {values[1]:>7} {values[2]:>8} {values[3]:>7}")
    ours = [one for one in found if one.name.startswith("azure-cni")]
    worst = max(statistics.median(one.cpu_s) for one in ours)
    lines.append(f"aim: {AIM_S * 1000:.0f} ms beside the API's own time; the most CPU time is {worst * 1000:.0f} ms")
    return "\n".join(lines)


def _tenth(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 10]


def _subjects(scratch: Path, url: str) -> Iterator[Subject]:
    config = str(scratch / "kubeconfig")
    Path(config).write_text(json.dumps(_kubeconfig(url)))
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    yield Subject("python3 -c pass", [sys.executable, "-c", "pass"], plain)
    kubectl = str(tools.path("kubectl"))
    words = [kubectl, "--kubeconfig", config, "get", "nodeippools"]
    yield Subject("kubectl get nodeippools", words, plain | {"KUBECACHEDIR": str(scratch / "kubectl")})
    installed: dict[str, Installed] = {}
    for name, make in (("wheel", from_wheel), ("one file", one_file)):
        (scratch / name).mkdir()
        installed[name] = make(scratch / name)
    for command in COMMANDS:
        for name, where in installed.items():
            environment = plain | {
                "XDG_CACHE_HOME": str(where.cache),
                "PATH": f"{where.programs}:{plain.get('PATH', os.defpath)}",
            }
            words = [str(where.programs / "azure-cni"), *command, "--kubeconfig", config]
            yield Subject(f"azure-cni {command[0]} ({name})", words, environment)


@contextlib.contextmanager
def served() -> Iterator[FakeKubeAPI]:
    """The API server, in a thread of its own."""
    api = _filled()
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with api.serve():
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        ready.wait()
        yield api
    finally:
        done.set()
        thread.join()


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
    }


def _filled() -> FakeKubeAPI:
    """A cluster in which all is well."""
    api = FakeKubeAPI()
    ready = [{"type": "Ready", "status": "True", "reason": "PodsCanStart", "message": ""}]
    held = {"allocated": 16, "assigned": PODS_EACH, "free": 13, "granted": 16, "vnetID": VNET, "conditions": ready}
    for number in range(NODE_COUNT):
        name = f"vm{number}"
        addresses = [f"10.240.{number}.{last}" for last in range(10, 26)]
        api.put(NODES, name, spec={"providerID": f"azure:///{name}"}, status={"conditions": ready})
        api.put(POOLS, name, spec={}, status=held | {"vnetAddresses": [f"{one} azure-cni-{one}" for one in addresses]})
        for address in addresses[:PODS_EACH]:
            api.put(PODS, f"web-{address}", spec={"nodeName": name}, status={"phase": "Running", "podIP": address})
    api.put(QUOTAS, "vnet", spec={"vnetID": VNET, "limit": 1000}, status={"conditions": ready})
    return api
