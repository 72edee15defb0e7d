"""The box's cluster DNS on a real API server: it starts with the permissions that it is given, and finds Services."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from azure_cni.kube.client import KubeEndpoint
from azurebox import clusterdns, tools
from contract.kube_world import Place
from fakes.waiting import PATIENCE_S
from simulation.ports import free_ports

NO_ERROR, NO_SUCH_NAME = 0, 3


@pytest.fixture(scope="module")
def real(apiserver: Place) -> KubeEndpoint:
    assert apiserver.real is not None
    return apiserver.real


@pytest.fixture(scope="module")
def server(real: KubeEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Where CoreDNS answers, with a token of its own service account."""
    directory = tmp_path_factory.mktemp("dns")
    documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*map(_anywhere, clusterdns.documents())]})
    kubectl(real, "apply", "-f", "-", stdin=documents)
    token = kubectl(real, "create", "token", clusterdns.NAME, f"--namespace={clusterdns.NAMESPACE}").strip()
    place = ("127.0.0.1", free_ports(1)[0])
    (directory / "kubeconfig").write_text(json.dumps(kubeconfig(real, token)))
    (directory / "Corefile").write_text(corefile(directory / "kubeconfig", place[1]))
    command = [tools.path("coredns"), "-conf", directory / "Corefile"]
    with (directory / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield place
        finally:
            process.kill()
            kubectl(real, "delete", "--ignore-not-found", "-f", "-", stdin=documents)


def test_it_finds_a_service_and_says_that_there_is_no_other(real: KubeEndpoint, server: tuple[str, int]):
    path = "jsonpath={.spec.clusterIP}"
    wanted = kubectl(real, "get", "service", "kube-dns", f"--namespace={clusterdns.NAMESPACE}", "--output", path)
    await_answer(server, "kube-dns.kube-system.svc.cluster.local", (NO_ERROR, IPv4Address(wanted)))
    assert ask(server, "nobody.kube-system.svc.cluster.local")[0] == NO_SUCH_NAME


def _anywhere(document):
    """The same without the address that only the box's own range has."""
    spec = {key: value for key, value in document.get("spec", {}).items() if key != "clusterIP"}
    return {**document, "spec": spec} if spec else document


def corefile(kubeconfig: Path, port: int) -> str:
    """The box's own, on loopback and without what is beyond it."""
    inner = clusterdns.COREFILE.replace(".:53 {", f".:{port} {{\n    bind 127.0.0.1")
    inner = inner.replace("    health {\n        lameduck 5s\n    }\n    ready\n", "").replace("    loop\n", "")
    inner = inner.replace("forward . /etc/resolv.conf", "forward . 127.0.0.1:9")
    return inner.replace("        pods insecure\n", f"        kubeconfig {kubeconfig}\n        pods insecure\n")


def kubeconfig(endpoint: KubeEndpoint, token: str) -> dict[str, object]:
    cluster = {"server": endpoint.url, "certificate-authority": str(endpoint.ca_file)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }


def kubectl(endpoint: KubeEndpoint, *words: str, stdin: str | None = None) -> str:
    where = [f"--server={endpoint.url}", f"--token={endpoint.token}", f"--certificate-authority={endpoint.ca_file}"]
    command = [tools.path("kubectl"), *where, *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=60).stdout


def await_answer(server: tuple[str, int], name: str, wanted: tuple[int, IPv4Address]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer: object = ask(server, name)
        except OSError as error:
            answer = error
        if answer == wanted:
            return
        assert time.monotonic() < end_s, answer
        time.sleep(0.2)


def ask(server: tuple[str, int], name: str) -> tuple[int, IPv4Address]:
    """The response code, and the last four octets, which are the address where there is one (RFC 1035)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.connect(server)
        asker.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1))
        reply = asker.recv(2048)
    return reply[3] & 15, IPv4Address(reply[-4:])
