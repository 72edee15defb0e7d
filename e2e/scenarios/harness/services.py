"""Services, and kube-proxy as a test sets it up."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from azurebox.client import Box
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, PORT

PROXY = "/etc/kubernetes/kube-proxy.json"
UDP_PORT = 8081


@dataclass(frozen=True, slots=True)
class Service:
    """A Service; the address is 0.0.0.0 where it is headless, the node port 0 where it has none."""

    name: str
    address: IPv4Address
    node_port: int

    @property
    def target(self) -> str:
        """Its address and port."""
        return f"{self.address}:{PORT}"

    def on(self, node: Node) -> str:
        """Its node port on a node."""
        return f"{node.primary()}:{self.node_port}"


@contextmanager
def service(box: Box, name: str, *, selector: Mapping[str, str], **spec: Any) -> Iterator[Service]:
    """A Service on the ports of test servers, as long as the block runs; `spec` has what is special about it."""
    ports = [
        {"name": "tcp", "port": PORT, "protocol": "TCP"},
        {"name": "udp", "port": UDP_PORT, "protocol": "UDP"},
    ]  # unless `spec` has others
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": selector, "ports": ports, **spec},
    }
    box.apply(document)
    try:
        made = box.kubectl_json("get", "service", "-n", NAMESPACE, name)["spec"]
        address = made["clusterIP"]
        yield Service(
            name=name,
            address=IPv4Address(0 if address == "None" else address),
            node_port=made["ports"][0].get("nodePort", 0),
        )
    finally:
        box.kubectl("delete", "service", "-n", NAMESPACE, name, "--ignore-not-found")


@contextmanager
def kube_proxy(box: Box, nodes: Sequence[Node], **changes: object) -> Iterator[None]:
    """kube-proxy of these nodes with other fields in its configuration; afterwards as it was."""
    with ExitStack() as stack:
        for node in nodes:
            before = node.run("cat", PROXY)
            stack.callback(_restart, box, node, before)
            _restart(box, node, json.dumps({**json.loads(before), **changes}, indent=1))
        yield


def _restart(box: Box, node: Node, configuration: str) -> None:
    node.write(PROXY, configuration)
    try:
        box.stop(f"{node.name}-kube-proxy")
    finally:
        box.start(f"{node.name}-kube-proxy")
