"""The pod of `helm test`: what it runs is run here, against a listener on the loopback."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from simulation.ports import free_ports
from unit.chart.helm import of_kind

ELSEWHERE = "192.0.2.1"


def pod(*values: str) -> dict:
    return of_kind("Pod", *values, name="azure-cni-test")


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(port: int, *, pod_ip: str, node_ip: str) -> subprocess.CompletedProcess[str]:
    _, *arguments = pod()["spec"]["containers"][0]["command"]
    env = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
        "POD_IP": pod_ip,
        "NODE_IP": node_ip,
        "NODE_NAME": "vm1",
    }
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | env, capture_output=True, text=True, check=False
    )


def test_it_is_run_by_helm_test_and_by_nothing_else():
    assert pod()["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "hostNetwork" not in pod()["spec"]


def test_it_needs_no_image_but_the_charts_own():
    values = ("image.repository=registry.local/cni", "image.tag=next", "image.pullPolicy=Never")
    (container,) = pod(*values)["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("registry.local/cni:next", "Never")


def test_it_says_its_address_when_the_api_server_answers(port: int):
    done = run(port, pod_ip="127.0.0.1", node_ip=ELSEWHERE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"pod 127.0.0.1 on vm1 reaches the API server at 127.0.0.1:{port}\n"


def test_it_fails_when_its_traffic_leaves_with_another_address(port: int):
    done = run(port, pod_ip=ELSEWHERE, node_ip=ELSEWHERE)
    assert done.returncode == 1
    assert f"the pod has {ELSEWHERE} and left as 127.0.0.1" in done.stderr


def test_it_fails_when_the_pod_has_the_nodes_address(port: int):
    assert run(port, pod_ip="127.0.0.1", node_ip="127.0.0.1").returncode == 1


def test_it_fails_when_nobody_answers(port: int):
    (silent,) = free_ports(1)
    assert run(silent, pod_ip="127.0.0.1", node_ip=ELSEWHERE).returncode == 1
