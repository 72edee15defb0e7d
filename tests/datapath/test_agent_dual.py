"""The agent as a process on a node of both families: from the chart's setting to packets between pods."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from ipaddress import IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

import pytest

from azure_cni.entrypoints.environment_values import PREFIX
from azure_cni.model.identity import ModeName
from bench.__main__ import build_plugin
from datapath.docker_process import DockerVm
from datapath.dual_site import seen
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace, Namespaces
from datapath.test_agent_docker import CONFIG
from datapath.test_docker_process import Plugin

pytestmark = IN_EACH_MODE

DUAL = {"DOCKER_SOCKET": "", "DOCKER_STATE_DIR": "", "DOCKER_ENGINE_SOCKET": "", "IP_FAMILIES": "IPv4,IPv6"}


@pytest.fixture
def mode(request: pytest.FixtureRequest) -> ModeName:
    chosen: ModeName = request.param
    return chosen


@pytest.fixture
def node(
    namespaces: Namespaces, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, mode: ModeName
) -> Iterator[DockerVm]:
    variables = {f"{PREFIX}{name}": value for name, value in (DUAL | {"MODE": mode.value}).items()}
    plugin = build_plugin(tmp_path_factory.mktemp("plugin"))
    started = DockerVm(
        namespaces,
        tmp_path,
        str(plugin),
        module="datapath.agent_vm",
        serves="run/cni.sock",
        variables=variables,
    )
    yield started
    started.kill()


def cni(node: DockerVm, verb: str, name: str, netns: str = "", **config: Any) -> tuple[int, dict[str, Any]]:
    """A request of the runtime for the pod of that name: the status, and the answer."""
    runtime = Plugin(node.directory / "run" / "cni.sock")
    args = {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": name}
    body = {"containerID": name, "netns": netns, "ifname": "eth0", "args": args, "path": "", "config": CONFIG | config}
    runtime.request("POST", f"/cni/v1/{verb}", body=json.dumps(body))
    answer: http.client.HTTPResponse = runtime.getresponse()
    return answer.status, json.loads(answer.read())


def added(node: DockerVm, name: str, pod: Namespace) -> dict[str, Any]:
    """The result, once the node has addresses."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        status, result = cni(node, "add", name, pod.path)
        if status == 200:
            return result
        assert time.monotonic() < deadline_s, (result, node.said)
        time.sleep(0.2)


def test_pods_get_both_and_reach_each_other_by_ipv6(node: DockerVm, namespaces: Namespaces) -> None:
    one, two = namespaces.new("one"), namespaces.new("two")
    results = [added(node, "one", one), added(node, "two", two)]
    ipv6 = []
    for result in results:
        first, second = (ip_interface(ip["address"]) for ip in result["ips"])
        assert isinstance(second, IPv6Interface)
        assert int(second.ip) % 65536 == int(first.ip) % 65536
        ipv6.append(str(second.ip))
    assert seen(one, two, ipv6[1]) == ipv6[0]
    assert seen(two, one, ipv6[0]) == ipv6[1]
    assert cni(node, "check", "one", one.path, prevResult=results[0]) == (200, {})
    assert cni(node, "del", "one", one.path) == (200, {})
    assert ipv6[0] not in node.node.run("ip", "-6", "route")
    assert cni(node, "del", "two", two.path) == (200, {})
    assert node.end() == 0, node.said
    assert " ERROR " not in node.said
