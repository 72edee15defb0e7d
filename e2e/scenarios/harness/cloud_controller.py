"""The part of the cloud controller: a Service of type LoadBalancer gets what cloud-provider-azure makes for it.

One rule with floating IP leads from the frontend to the nodes' primary ipConfigurations, where kube-proxy finds the
frontend's address as the destination. Whether a node gets connections is judged with `externalTrafficPolicy: Local` by
the Service's own health check node port, and else by its node port. Sources: cloud-provider-azure, "Azure LoadBalancer"
and pkg/provider/azure_loadbalancer.go; intervals and thresholds are its defaults.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from azurebox.client import Box
from azurebox.fabric.topology import Place
from azurebox.facts import CONTROL_PLANE, PREFIX
from scenarios.harness.balancing import await_written, load_balancer
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE
from scenarios.harness.vnet import SUBNET

PROBE_INTERVAL_S, PROBE_THRESHOLD = 5, 2


@contextmanager
def exposed(box: Box, name: str, nodes: Sequence[Node], *, public_ip: str = "") -> Iterator[IPv4Address]:
    """A load balancer of the Service's name, internal unless it gets a public IP address; its frontend.

    The Service shows the frontend in its status. Which nodes are up by then is not waited for.
    """
    spec = box.kubectl_json("get", "service", "-n", NAMESPACE, name)["spec"]
    place = {"public_ip": public_ip} if public_ip else {"subnet": SUBNET}
    rule = {
        "port": spec["ports"][0]["port"],
        "floating_ip": True,
        "probe": _probe(spec),
        "interval_s": PROBE_INTERVAL_S,
        "threshold": PROBE_THRESHOLD,
    }
    with load_balancer(box, name, **place, **rule) as frontend:
        primaries = [str(node.primary()) for node in nodes]
        box.azure("POST", f"/load-balancers/{name}/join", {"addresses": primaries})
        _publish(box, name, [{"ip": str(frontend)}])
        try:
            yield frontend
        finally:
            _publish(box, name, [])
    await_written(box)


def vm_of_the_vnet(box: Box) -> Place:
    """A VM that is no node: the control plane's."""
    vm = next(vm for vm in box.azure("GET", "/vms") if vm["name"] == CONTROL_PLANE)
    address = IPv4Address(vm["primary"])
    return Place(CONTROL_PLANE.removeprefix(PREFIX), address, gateway=address, mac="", public=None)


def _probe(spec: dict[str, Any]) -> str:
    if spec.get("externalTrafficPolicy") == "Local":
        return f"http:{spec['healthCheckNodePort']}/healthz"
    return f"tcp:{spec['ports'][0]['nodePort']}"


def _publish(box: Box, name: str, ingress: Sequence[dict[str, str]]) -> None:
    patch = {"status": {"loadBalancer": {"ingress": list(ingress)}}}
    box.kubectl(
        "patch",
        "service",
        "-n",
        NAMESPACE,
        name,
        "--subresource=status",
        "--type=merge",
        f"--patch={json.dumps(patch)}",
    )
