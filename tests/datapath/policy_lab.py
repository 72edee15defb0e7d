"""A node whose pods have NetworkPolicies, and the engine of kube-network-policies as a program on it.

The program is `e2e/azurebox/tools/policy`: upstream's engine, with the objects of a file.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azurebox import tools
from datapath.namespaces import PATIENCE_S, Namespace, Socket
from datapath.node_site import PORT, PUBLIC, A, B

WEB, CLIENT, SHUT, OTHER = A, B, "10.240.0.10", PUBLIC
QUEUE = 98


def objects() -> dict[str, Any]:
    """`web` takes connections from `client`, at one port; `shut` may begin none; no policy is about `other`. As the API
    server returns them: with its defaults, and without lists that are empty.
    """

    def pod(name: str, address: str) -> dict[str, Any]:
        metadata = {"namespace": "shop", "name": name, "labels": {"app": name}}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "vm1"}, "status": status}

    def policy(name: str, kind: str, **rules: Any) -> dict[str, Any]:
        spec = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": [kind], **rules}
        metadata = {"namespace": "shop", "name": name}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}

    allowed = {
        "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
        "ports": [{"port": PORT, "protocol": "TCP"}],
    }
    pods = (("web", WEB), ("client", CLIENT), ("shut", SHUT), ("other", OTHER))
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            *(pod(name, address) for name, address in pods),
            policy("web", "Ingress", ingress=[allowed]),
            policy("shut", "Egress"),
        ],
    }


def built_engine() -> Path:
    """The program; it is built where it is not there."""
    tools.ensure_tools((tools.POLICY,))
    return tools.path("policy")


class Engine:
    """The program on a node, and what it has said."""

    def __init__(self, program: Path, node: Namespace, directory: Path, *flags: str) -> None:
        self._log = directory / "verdicts"
        (directory / "objects.json").write_text(json.dumps(objects()))
        file = str(directory / "objects.json")
        command = ["nsenter", f"--net={node.path}", str(program), *flags, str(QUEUE), "vm1", file]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def said(self) -> list[str]:
        return self._log.read_text().splitlines()

    def until(self, fact: Callable[[], bool]) -> None:
        """The engine runs all the while."""

        def holds() -> bool:
            assert self._process.poll() is None, self.said
            return fact()

        until(holds, lambda: str(self.said))

    def until_said(self, line: str) -> None:
        self.until(lambda: line in self.said)

    def stop(self) -> None:
        """As the kubelet does, in time."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def has_queue(node: Namespace) -> bool:
    """Whether nftables of this kernel has one (CONFIG_NFT_QUEUE)."""
    asked = "table inet probe { chain c { type filter hook postrouting priority 0; queue num 98; }; }"
    try:
        node.run("nft", "--check", "-f", "-", stdin=asked)
    except AssertionError:
        return False
    return True


def begin(client: Namespace, address: str, port: int) -> Socket:
    """A connection on its way."""
    socket = client.socket()
    socket.setblocking(False)
    assert socket.connect_ex((address, port))
    return socket


def nobody_came(listener: Socket) -> bool:
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.settimeout(PATIENCE_S)
    return True


def until(fact: Callable[[], bool], but: Callable[[], str] = str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline_s, but()
        time.sleep(0.02)
