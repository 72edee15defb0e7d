"""A node to measure on: a namespace with the NIC's interface, the agent inside, pods' namespaces, and the calls.

A call is made as a runtime makes it: the plugin's binary is executed in the node's namespace with CNI_* in its
environment and the network configuration on its standard input; the time runs until it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from azure_cni.linux import netns
from azure_cni.model.identity import ModeName
from bench.agent import SOCKET
from datapath.namespaces import Namespace, Namespaces
from fakes.cloud import IDENTITY

CALL_TIMEOUT_S = 40.0
READY_TIMEOUT_S = 30.0
GONE_TIMEOUT_S = 10.0
AT_ONCE = 30
DESCRIPTORS = ("prlimit", "--nofile=1024:")
"""The soft limit of containers that containerd 2 starts on a node with systemd."""


class BenchError(Exception):
    """Something did not do what it should, so there is nothing to measure."""


@dataclass(frozen=True)
class Subject:
    """What is measured: a name, its binary, the network configuration, and the prefix of its host interfaces."""

    name: str
    binary: Path
    config: dict[str, Any]
    prefix: str
    pid: int = 0
    """Of our agent."""


@dataclass(frozen=True)
class Pod:
    """A sandbox as the runtime names it."""

    netns: Namespace
    container_id: str = field(default_factory=lambda: uuid.uuid4().hex * 2)


class Node:
    """Calls come from threads that live in the node's namespace: a child process starts where its thread is."""

    def __init__(self, namespaces: Namespaces, scratch: Path) -> None:
        self.namespaces = namespaces
        self.scratch = scratch
        self.namespace = namespaces.new("node")
        self.namespace.sysctl("net/ipv4/ip_forward", "1")
        self.namespace.ip("link", "add", "eth0", "address", IDENTITY.mac, "type", "bridge")
        self.namespace.ip("address", "add", f"{IDENTITY.primary_ip}/22", "dev", "eth0")
        self.namespace.ip("link", "set", "eth0", "up")
        self._callers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="caller", initializer=self._enter)

    def close(self) -> None:
        self._callers.shutdown()

    def new_pods(self, count: int) -> list[Pod]:
        """Made before the clock runs."""
        return [Pod(namespace) for namespace in self.namespaces.new_many(count)]

    def call(self, subject: Subject, verb: str, pod: Pod) -> float:
        """Seconds that one call took; BenchError when the plugin says no."""
        return self._callers.submit(_execute, subject, verb, pod).result()

    def call_all(self, subject: Subject, verb: str, pods: Sequence[Pod]) -> list[float]:
        """The same call for many pods at once, let go together."""
        start = threading.Barrier(len(pods))

        def one(pod: Pod) -> float:
            start.wait(CALL_TIMEOUT_S)
            return _execute(subject, verb, pod)

        return list(self._callers.map(one, pods))

    def inside(self, work: Callable[[], None]) -> Future[None]:
        """Begin something in a thread that lives in the node's namespace."""
        return self._callers.submit(work)

    def wait_gone(self, subject: Subject) -> None:
        """Until no link of the subject is left: what it removes behind its answer must not fall to the next one."""
        end = time.monotonic() + GONE_TIMEOUT_S
        while any(name.startswith(subject.prefix) for name in self._callers.submit(_links).result()):
            if time.monotonic() > end:
                raise BenchError(f"links of {subject.name} are still there after {GONE_TIMEOUT_S:.0f} s")
            time.sleep(0.005)

    @contextlib.contextmanager
    def agent(self, binary: Path, *arguments: str, mode: ModeName = ModeName.TRANSPARENT) -> Iterator[Subject]:
        """Our plugin with an agent that has an empty ledger; `arguments` are more of `bench.agent`'s."""
        run_dir = self.scratch / f"agent-{uuid.uuid4().hex[:8]}"
        run_dir.mkdir(mode=0o700)
        config = {
            "cniVersion": "1.0.0",
            "name": "azure-cni",
            "type": "azure-cni",
            "socket": str(run_dir / SOCKET),
        }
        subject = Subject("azure-cni", binary, config, prefix="acni")
        with (run_dir / "log").open("w") as log:
            arguments = ("--mode", mode.value, *arguments)
            process = self._callers.submit(_start_agent, run_dir, log.fileno(), arguments).result()
        try:
            self._until_ready(subject, process, run_dir)
            yield replace(subject, pid=process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(GONE_TIMEOUT_S)

    def reference(self, kind: str, directory: Path, subnet: str) -> Subject:
        """A reference plugin with host-local."""
        ipam = {"type": "host-local", "dataDir": str(self.scratch / f"host-local-{kind}"), "subnet": subnet}
        config: dict[str, Any] = {"cniVersion": "1.0.0", "name": f"bench-{kind}", "type": kind, "ipam": ipam}
        if kind == "bridge":
            config |= {"bridge": "bench0", "isGateway": True}
        return Subject(kind, directory / kind, config, prefix="veth")

    def _until_ready(self, subject: Subject, process: subprocess.Popen[bytes], run_dir: Path) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        status = Subject(subject.name, subject.binary, subject.config | {"cniVersion": "1.1.0"}, subject.prefix)
        pod = Pod(self.namespace)
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(BenchError):
                self.call(status, "STATUS", pod)
                return
            time.sleep(0.1)
        raise BenchError(f"the agent is not ready; it wrote: {(run_dir / 'log').read_text()[-2000:]}")

    def _enter(self) -> None:
        with netns.opened(self.namespace.path) as node:
            netns.enter(node)


def _execute(subject: Subject, verb: str, pod: Pod) -> float:
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(subject.binary.parent),
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod",
        "PATH": os.environ.get("PATH", ""),
    }
    config = json.dumps(subject.config).encode()
    started = time.perf_counter()
    done = subprocess.run(
        [subject.binary], input=config, env=environment, capture_output=True, timeout=CALL_TIMEOUT_S, check=False
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise BenchError(f"{subject.name} {verb}: {done.stdout.decode()} {done.stderr.decode()}")
    return took


def _start_agent(run_dir: Path, log: int, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [*DESCRIPTORS, sys.executable, "-m", "bench.agent", *arguments, str(run_dir)],
        stdout=log,
        stderr=log,
        env=environment,
    )


def _links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]
