"""`helm uninstall`: running pods stay, what stays is what the document says, and a new installation takes it over."""

import json
from ipaddress import IPv4Address

from azurebox import release
from azurebox.client import Box
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import BINARY, CONFLIST, RUN_DIR, Node
from scenarios.harness.pods import event_for, on_nodes, servers
from scenarios.harness.product import NAMESPACE, QUICK, Product
from scenarios.harness.stream import Flow, unbroken

GONE_S = 120


def test_uninstall_and_install_again(box: Box, cloud: Cloud, product: Product, nodes: list[Node]) -> None:
    """Uninstall, clean one node as the document says, install again: the pod on the other never notices."""
    kept, cleaned = nodes
    host = next(host for host in on_nodes(box) if host.node == cleaned.name)
    with servers(box, "staying", node=kept.name, replicas=2) as staying, servers(box, "late", node=kept.name) as late:
        pods = staying.pods()
        flows = [Flow(host, pod.address, seen=host.address) for pod in pods]
        links, routes, on_nics = kept.links(), kept.routes(), [node.on_nic() for node in nodes]
        requests = cloud.requests()
        shipped = product.shipped()
        definitions = [one for one in shipped if one["kind"] == "CustomResourceDefinition"]
        others = [one for one in shipped if one not in definitions]
        assert len(product.found(others)) == len(others)  # else to find none of them would mean nothing
        with unbroken(box, *flows):
            assert "uninstalled" in product.uninstall()
            assert release.NAME not in box.helm("list", "-n", NAMESPACE, "-q").split()
            box.wait_for(lambda: not product.found(others), GONE_S, "all but the definitions to be gone")
            assert (kept.links(), kept.routes(), [node.on_nic() for node in nodes]) == (links, routes, on_nics)
            assert kept.known_to_nft() == on_nics[0]
            for path in (CONFLIST, BINARY, f"{RUN_DIR}/ledger.sqlite"):
                kept.run("test", "-e", path)
            assert len(product.found(definitions)) == len(definitions) == 2
            assert len(box.kubectl("get", "nodeippools", "-o", "name").split()) == len(box.nodes)

            (waiting,) = late.scale_beyond(1, ready=0)
            event_for(box, waiting.name, "FailedCreatePodSandBox", "cannot reach the azure-cni agent")

            cleaned.clean()
            stray = min(cleaned.on_nic())
            cleaned.run("ip", "address", "add", f"{stray}/22", "dev", "eth0")  # as cloud-init does at a boot
            product.install(QUICK)
            late.ready(1)
        assert {pod.uid for pod in staying.pods()} == {pod.uid for pod in pods}
        assert kept.links() > links
        for node in nodes:
            node.agrees()
        box.wait_for(lambda: stray not in _on_eth0(cleaned), GONE_S, f"{stray} to be no address of the node's own")
        # The cleaned node found its addresses on its NIC again, as after a reboot; nothing had to be written.
        assert [node.on_nic() for node in nodes] == on_nics
        assert cloud.requests() == requests


def _on_eth0(node: Node) -> set[IPv4Address]:
    (link,) = json.loads(node.run("ip", "-json", "-4", "address", "show", "dev", "eth0"))
    return {IPv4Address(entry["local"]) for entry in link["addr_info"]}
