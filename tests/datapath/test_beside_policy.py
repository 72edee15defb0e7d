"""NetworkPolicies by the engine of kube-network-policies over our data plane, on a real kernel.

The engine's evaluator and parser are upstream's (`e2e/azurebox/tools/policy`). Its queue is filled by iptables, since
kernels without nftables' queue cannot load the engine's own rules: those are not tried here. The rules here do what
those do: the node's own processes pass, and so does what is established.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from azurebox import tools
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace, Socket, caller_of
from datapath.node_site import INTERNET, PORT, PRIMARY, TABLE, A, B, Site

pytestmark = IN_EACH_MODE
WEB, CLIENT, SHUT = A, B, "10.240.0.10"
QUEUE = 98
RULES = (
    "-m owner --uid-owner 0 -j ACCEPT",
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    f"-j NFQUEUE --queue-num {QUEUE}",
)


@pytest.fixture(scope="module")
def engine() -> Path:
    tools.ensure_tools((tools.POLICY,))
    return tools.path("policy")


def objects() -> dict[str, Any]:
    """`web` takes connections from `client`, at one port; `shut` may begin none. As the API server returns them: with
    its defaults, and without lists that are empty.
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
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            *(pod(name, address) for name, address in (("web", WEB), ("client", CLIENT), ("shut", SHUT))),
            policy("web", "Ingress", ingress=[allowed]),
            policy("shut", "Egress"),
        ],
    }


class Engine:
    """The program on a node, and what it has said."""

    def __init__(self, program: Path, node: Namespace, directory: Path) -> None:
        self._log = directory / "verdicts"
        (directory / "objects.json").write_text(json.dumps(objects()))
        command = ["nsenter", f"--net={node.path}", str(program), str(QUEUE), "vm1", str(directory / "objects.json")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.until("ready")

    @property
    def said(self) -> list[str]:
        return self._log.read_text().splitlines()

    def until(self, line: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while line not in self.said:
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline_s, f"no {line!r} in {self.said}"
            time.sleep(0.02)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def judged(site: Site, engine: Path, tmp_path: Path) -> Iterator[Engine]:
    running = Engine(engine, site.node, tmp_path)
    for rule in RULES:
        site.node.run("iptables-nft", "-t", "mangle", "-A", "POSTROUTING", *rule.split())
    yield running
    running.end()


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
    return True


async def test_a_pod_is_reached_by_whom_its_policy_names_and_by_its_node(site: Site, judged: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client, shut = [await site.machine.pod(one) for one in (WEB, CLIENT, SHUT)]
    with web.listen(WEB, PORT) as listener, web.listen(WEB, PORT + 1) as other_port:
        assert caller_of(listener, client.socket(), (WEB, PORT)) == CLIENT
        judged.until(f"{CLIENT} {WEB} {PORT} accept")
        assert caller_of(listener, site.node.socket(), (WEB, PORT))
        for from_pod, address, port in ((client, CLIENT, PORT + 1), (shut, SHUT, PORT)):
            with begin(from_pod, WEB, port):
                judged.until(f"{address} {WEB} {port} drop")
        assert nobody_came(other_port)
        assert nobody_came(listener)


async def test_a_policy_judges_the_pods_own_address_before_it_is_translated(site: Site, judged: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    client, shut = [await site.machine.pod(one) for one in (CLIENT, SHUT)]
    assert site.seen(client, INTERNET) == PRIMARY
    judged.until(f"{CLIENT} {INTERNET} {PORT} accept")
    with begin(shut, INTERNET, PORT):
        judged.until(f"{SHUT} {INTERNET} {PORT} drop")


async def test_without_the_engine_nothing_new_passes_unless_its_rule_says_so(site: Site, judged: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client = [await site.machine.pod(one) for one in (WEB, CLIENT)]
    judged.end()
    with web.listen(WEB, PORT) as listener:
        with begin(client, WEB, PORT):
            until(lambda: queued(site.node) > 0)
            assert nobody_came(listener)
        site.node.run("iptables-nft", "-t", "mangle", "-D", "POSTROUTING", *RULES[-1].split())
        site.node.run("iptables-nft", "-t", "mangle", "-A", "POSTROUTING", *RULES[-1].split(), "--queue-bypass")
        listener.settimeout(PATIENCE_S)
        assert caller_of(listener, client.socket(), (WEB, PORT)) == CLIENT


def queued(node: Namespace) -> int:
    """Packets that the rule sent to the queue."""
    listed = node.run("iptables-nft", "-t", "mangle", "-vnL", "POSTROUTING").splitlines()
    (line,) = [one for one in listed if "NFQUEUE" in one]
    return int(line.split()[0])


def until(fact: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
