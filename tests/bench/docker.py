"""How long a container of Docker takes to start and to be removed: on the VNet, on a bridge network, on macvlan.

    PYTHONPATH=operator:tests:e2e python -m bench docker [--rounds 40] [--docker 20.10|29] [--json FILE]

A VM with an engine of its own and azure-cni's plugin for it, in namespaces that end with the run; the fake Azure is on
its loopback. Each round starts and removes one container on each network, in turns, so that a slow minute concerns all
of them; ratios are of the same round. What is timed is the engine's answer to one request: a container that is there
is started, one that runs is removed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azurebox import cgroups
from azurebox.docker_host import IMAGE, VERSIONS, engine_command
from bench.node import BenchError
from bench.speed_figures import ratio

NAME = "azbox-docker-bench"
BASE, OURS = "bridge", "azure-cni"
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    OURS: {"Driver": "azure-cni", "IPAM": {"Driver": "azure-cni"}},
    BASE: {"Driver": "bridge"},
    "macvlan": {
        "Driver": "macvlan",
        "IPAM": {"Config": [{"Subnet": "10.250.0.0/16"}]},
        "Options": {"parent": "eth0"},
    },
}
STEPS = ("start", "remove")
READY_S = 120.0
SCRIPT = """\
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
mkdir -p /run/docker/plugins
ln -s "$1/plugin.sock" /run/docker/plugins/azure-cni.sock
"$2" -m datapath.docker_vm "$1" > "$1/plugin.log" 2>&1 &
shift 2
exec "$@"
"""

Took = dict[str, dict[str, list[float]]]
"""By step and network, seconds for each round."""


class Engine(http.client.HTTPConnection):
    """Docker's API, a connection for each request."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str, content: Any = None, *, raw: bytes | None = None) -> Any:
        """The document of the answer. BenchError for a refusal."""
        body = raw if raw is not None else b"" if content is None else json.dumps(content).encode()
        self.request(method, path, body=body, headers={"Content-Type": "application/json"})
        answer = self.getresponse()
        said = answer.read()
        self.close()
        if answer.status >= 400:
            raise BenchError(f"cannot {method} {path}: Docker answers {answer.status}: {said.decode(errors='replace')}")
        return json.loads(said) if said.startswith((b"{", b"[")) else None


@contextmanager
def vm(directory: Path, version: str) -> Iterator[Engine]:
    """Its engine, once a container can start."""
    cgroups.ensure(NAME)
    dockerd = [
        *engine_command(version),
        f"--host=unix://{directory}/docker.sock",
        f"--data-root={directory}/data",
        "--userland-proxy=false",
        f"--cgroup-parent=/{NAME}",
    ]
    inside = ["sh", "-c", SCRIPT, "sh", str(directory), sys.executable, *dockerd]
    with (directory / "docker.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", *inside], stdout=log, stderr=log
        )
        try:
            engine = Engine(directory / "docker.sock")
            _await(engine, process, directory)
            yield engine
        finally:
            process.send_signal(signal.SIGKILL)  # the kernel ends all in the namespace with it
            process.wait()
    cgroups.remove(NAME)


def _await(engine: Engine, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Until the engine answers and the plugin is there."""
    ends_s = time.monotonic() + READY_S
    while True:
        try:
            if (directory / "plugin.sock").exists():
                engine.ask("GET", "/version")
                return
        except (OSError, http.client.HTTPException):
            engine.close()
        if process.poll() is not None or time.monotonic() > ends_s:
            log = (directory / "docker.log").read_text(errors="replace")[-2000:]
            raise BenchError(f"cannot start a VM with Docker: {log}")
        time.sleep(0.2)


def _prepare(engine: Engine, directory: Path) -> None:
    """The image and the networks."""
    root = directory / "image" / "bin"
    root.mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "/bin/busybox", root / "sleep")
    subprocess.run(["tar", "-C", str(root.parent), "-cf", f"{directory}/image.tar", "."], check=True)
    repository, _, tag = IMAGE.partition(":")
    content = (directory / "image.tar").read_bytes()
    engine.ask("POST", f"/images/create?fromSrc=-&repo={repository}&tag={tag}", raw=content)
    for name, options in NETWORKS.items():
        engine.ask("POST", "/networks/create", {"Name": f"bench-{name}", **options})


def _round(engine: Engine, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Of each network, in this order: how long a container took to start and to be removed."""
    took = {}
    for name in names:
        config = {"Image": IMAGE, "Cmd": ["/bin/sleep", "600"], "HostConfig": {"NetworkMode": f"bench-{name}"}}
        container = engine.ask("POST", "/containers/create", config)["Id"]
        began = time.perf_counter()
        engine.ask("POST", f"/containers/{container}/start")
        started = time.perf_counter()
        engine.ask("DELETE", f"/containers/{container}?force=true")
        took[name] = (started - began, time.perf_counter() - started)
    return took


def measure(directory: Path, *, version: str, rounds: int) -> Took:
    """The first round warms up and is not counted; each begins with another network."""
    took: Took = {step: {name: [] for name in NETWORKS} for step in STEPS}
    with vm(directory, version) as engine:
        _prepare(engine, directory)
        for number in range(rounds + 1):
            first = number % len(NETWORKS)
            order = [*list(NETWORKS)[first:], *list(NETWORKS)[:first]]
            for name, seconds in _round(engine, order).items():
                for step, value in zip(STEPS, seconds, strict=True):
                    took[step][name] += [value] if number else []
    return took


def table(took: Took) -> Iterator[str]:
    """Medians in milliseconds, and the ratios to Docker's bridge with the intervals that hold nine of ten draws."""
    yield f"{'':8} {'network':10} {'p50 ms':>8} {'of bridge':>10}"
    for step, ways in took.items():
        for name, values in ways.items():
            middle, low, high = ratio(values, ways[BASE])
            median = sorted(values)[len(values) // 2] * 1e3
            beside = "" if name == BASE else f"{middle:>10.2f}  {low:.2f} to {high:.2f}"
            yield f"{step:8} {name:10} {median:>8.0f} {beside}".rstrip()


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench docker", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--docker", choices=VERSIONS, default=VERSIONS[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if not 2 <= options.rounds <= 200:
        parser.error("--rounds must be 2 to 200")
    if os.geteuid() != 0:
        parser.error("needs root: makes namespaces of its own")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-docker-") as scratch:
        try:
            took = measure(Path(scratch), version=options.docker, rounds=options.rounds)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    print(f"Docker {options.docker}, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print("\n".join(table(took)))
    if options.json:
        options.json.write_text(json.dumps(took, indent=2) + "\n")
    return 0
