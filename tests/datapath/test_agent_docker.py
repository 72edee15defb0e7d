"""The agent as a process that serves Docker, too: a pod and a container from one pool, on a real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import build_plugin
from datapath.docker_process import DockerVm
from datapath.docker_vm import PRIMARY
from datapath.namespaces import NEEDS_ROOT, Namespaces, caller_of
from datapath.test_docker_process import ONE, Plugin, put_in
from fakes.docker_engine import NET1, docker_id

pytestmark = NEEDS_ROOT
CONFIG = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni"}


@pytest.fixture
def node(namespaces: Namespaces, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerVm]:
    plugin = build_plugin(tmp_path_factory.mktemp("plugin"))
    started = DockerVm(namespaces, tmp_path, str(plugin), module="datapath.agent_vm")
    yield started
    started.kill()


def cni(node: DockerVm, verb: str, netns: str = "", **config: Any) -> tuple[int, dict[str, Any]]:
    """A request of the runtime: the status, and the answer."""
    runtime = Plugin(node.directory / "run" / "cni.sock")
    args = {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "web"}
    body = {"containerID": "c1", "netns": netns, "ifname": "eth0", "args": args, "path": "", "config": CONFIG | config}
    runtime.request("POST", f"/cni/v1/{verb}", body=json.dumps(body))
    answer = runtime.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_pod_and_a_container_share_the_pool_and_a_gc_of_the_runtime_ends_the_pod_alone(
    node: DockerVm, namespaces: Namespaces
) -> None:
    assert node.status("--wait", "60")[0] == 0, node.said
    docker, container, pod = Plugin(node.socket), namespaces.new("container"), namespaces.new("pod")
    pool = docker.call("IpamDriver.RequestPool", AddressSpace="azure-cni", Pool="10.240.0.0/22")
    data = {"AddressSpace": "azure-cni", "Pool": pool["Pool"], "Gateway": "169.254.1.1/32"}
    docker.call("NetworkDriver.CreateNetwork", NetworkID="net1", IPv4Data=[data], Options={})
    given = docker.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"])["Address"]
    docker.call("NetworkDriver.CreateEndpoint", **ONE, Interface={"Address": given})
    joined = docker.call("NetworkDriver.Join", **ONE, SandboxKey=container.path)
    put_in(container, node.node, joined, given)
    code, result = cni(node, "add", pod.path)
    assert code == 200, result
    pods = result["ips"][0]["address"].partition("/")[0]
    containers = given.partition("/")[0]
    assert pods != containers
    for one, address in ((pod, pods), (container, containers)):
        with node.node.listen(PRIMARY, 8080) as listener:
            assert caller_of(listener, one.socket(), (PRIMARY, 8080)) == address
    shown = node.status()[1]
    assert ", 2 assigned, " in shown
    assert f"{containers}  joined  net1" in shown
    code, refused = cni(node, "add", namespaces.new().path, runtimeConfig={"ips": [containers]})
    assert (code, "azure-cni chooses each address" in refused["msg"]) == (400, True)
    assert cni(node, "gc", **{"cni.dev/valid-attachments": []}) == (200, {})
    with node.node.listen(PRIMARY, 8080) as listener:
        assert caller_of(listener, container.socket(), (PRIMARY, 8080)) == containers
    assert ", 1 assigned, " in node.status()[1]
    assert node.end() == 0, node.said
    assert not node.socket.exists()


@contextmanager
def engine(node: DockerVm, endpoint: str, name: str) -> Iterator[None]:
    """Docker, which has one container, with this endpoint, at the socket that the agent asks."""
    socket = str(node.directory / "engine" / "docker.sock")
    command = [sys.executable, "-m", "datapath.engine_process", socket, NET1, endpoint, name]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": ":".join(sys.path)})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_the_agent_reads_docker_s_lists_and_names_its_containers(node: DockerVm, namespaces: Namespaces) -> None:
    assert node.status("--wait", "60")[0] == 0, node.said
    assert "Docker: its containers cannot be listed" in node.status()[1]  # nobody listens
    docker, endpoint = Plugin(node.socket), docker_id("ep1")
    pool = docker.call("IpamDriver.RequestPool", AddressSpace="azure-cni", Pool="10.240.0.0/22")
    data = {"AddressSpace": "azure-cni", "Pool": pool["Pool"], "Gateway": "169.254.1.1/32"}
    docker.call("NetworkDriver.CreateNetwork", NetworkID=NET1, IPv4Data=[data], Options={})
    given = docker.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"])["Address"]
    of_one = {"NetworkID": NET1, "EndpointID": endpoint}
    docker.call("NetworkDriver.CreateEndpoint", **of_one, Interface={"Address": given})
    with engine(node, endpoint, "shop"):
        docker.call("NetworkDriver.Join", **of_one, SandboxKey=namespaces.new("container").path)
        deadline_s = time.monotonic() + 120
        while "shop" not in (shown := node.status()[1]):
            assert time.monotonic() < deadline_s, f"{shown}\n{node.said}"
            time.sleep(0.2)
    row = next(line for line in shown.splitlines() if line.startswith(given.partition("/")[0]))
    assert row.split() == [given.partition("/")[0], "joined", NET1[:12], endpoint[:12], "shop"]
    assert "Docker: 1 container, listed" in shown
