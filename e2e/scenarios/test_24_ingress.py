"""An ingress controller: Traefik, behind a node port and a load balancer; it and the servers say whom they see."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from azurebox import image, tools
from azurebox.client import Box
from azurebox.fabric.topology import ONPREM
from azurebox.machine import Machine
from azurebox.node import load_image
from azurebox.steps import StepError
from scenarios.harness.balancing import await_up, nat_gateway
from scenarios.harness.cloud_controller import exposed, vm_of_the_vnet
from scenarios.harness.meeting import Asker, ask_from
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, START_S, Pod, Workload, servers
from scenarios.harness.services import Service, service
from scenarios.harness.vnet import SUBNET

NAME = "traefik"
SHOP = "shop.example"
ENTRY, WEB, PING = 80, 8000, 8080


@pytest.fixture(scope="module")
def controller(box: Box, nodes: list[Node]) -> Iterator[Pod]:
    """Traefik on the first node, with its class and the permissions that it asks for."""
    archive = image.ensure_program_image(image.TRAEFIK, tools.TRAEFIK, "traefik")
    for node in nodes:
        load_image(Machine(node.name), archive)
    documents = _documents(nodes[0])
    box.apply(*documents)
    try:
        (pod,) = Workload(box, NAME).ready(1)
        yield pod
    finally:
        for document in documents:
            metadata = document["metadata"]
            box.kubectl("delete", document["kind"], metadata["name"], "-n", metadata.get("namespace", NAMESPACE))
        Workload(box, NAME).ready(0)


@pytest.fixture
def shop(box: Box, nodes: list[Node]) -> Iterator[list[Pod]]:
    """Two servers on the second node, their Service, and the Ingress that leads there."""
    with servers(box, "shop", node=nodes[1].name, replicas=2) as made, service(box, "shop", selector={"app": "shop"}):
        box.apply(_ingress())
        try:
            yield made.pods()
        finally:
            box.kubectl("delete", "ingress", "-n", NAMESPACE, "shop")


def test_an_ingress_leads_to_the_pods_of_a_service(
    box: Box, controller: Pod, shop: list[Pod], nodes: list[Node]
) -> None:
    """By a node port, from on-premises and from a pod of another node."""
    with (
        _entry(box, "NodePort") as entry,
        servers(box, "customer", node=nodes[1].name, replicas=1) as customer,
    ):
        target = entry.on(nodes[0])
        callers: list[Asker] = [ONPREM, *customer.pods()]
        for caller in callers:
            _visit(box, caller, target, controller=controller, shop=shop)
        assert "404" in ask_from(box, ONPREM, f"nobody.example@{target}/hostname")


def test_an_ingress_is_reached_through_a_load_balancer(
    box: Box, controller: Pod, shop: list[Pod], nodes: list[Node]
) -> None:
    """From on-premises and from a VM of the VNet; the only node that is up is the controller's."""
    with (
        nat_gateway(box, subnet=SUBNET),
        _entry(box, "LoadBalancer"),
        exposed(box, NAME, nodes) as frontend,
    ):
        await_up(box, NAME, [nodes[0].primary()])
        for caller in (ONPREM, vm_of_the_vnet(box)):
            _visit(box, caller, f"{frontend}:{ENTRY}", controller=controller, shop=shop)


def _entry(box: Box, kind: str) -> AbstractContextManager[Service]:
    """The controller's own Service, which keeps the caller's address."""
    ports = [{"port": ENTRY, "targetPort": WEB}]
    return service(box, NAME, selector={"app": NAME}, type=kind, externalTrafficPolicy="Local", ports=ports)


def _visit(box: Box, caller: Asker, target: str, *, controller: Pod, shop: list[Pod]) -> None:
    """Both servers answer, who see the controller; that saw the caller, and says so in X-Forwarded-For."""

    def answered() -> bool:
        answer = ask_from(box, caller, f"{SHOP}@{target}/hostname")
        if answer.startswith("!"):
            raise StepError("not yet", output=answer)
        return True

    box.wait_for(answered, START_S, f"{caller.name} to reach {SHOP}")
    names = {ask_from(box, caller, f"{SHOP}@{target}/hostname") for _ in range(8)}
    assert names == {pod.name for pod in shop}
    assert ask_from(box, caller, f"{SHOP}@{target}/clientip").rpartition(":")[0] == str(controller.address)
    assert str(caller.address) in ask_from(box, caller, f"{SHOP}@{target}/header?key=X-Forwarded-For")


def _ingress() -> dict[str, Any]:
    backend = {"service": {"name": "shop", "port": {"name": "tcp"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {"ingressClassName": NAME, "rules": [{"host": SHOP, "http": {"paths": paths}}]},
    }


def _documents(node: Node) -> list[dict[str, Any]]:
    reads = ["get", "list", "watch"]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "azbox-traefik"}
    account = {"name": NAME, "namespace": NAMESPACE}
    rules = [
        {"apiGroups": [""], "resources": ["services", "secrets", "nodes", "namespaces", "configmaps"], "verbs": reads},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": reads},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["update"]},
    ]
    container = {
        "name": "traefik",
        "image": image.TRAEFIK,
        "imagePullPolicy": "Never",
        "args": [
            "--providers.kubernetesingress", f"--entrypoints.web.address=:{WEB}", "--ping",
            f"--entrypoints.traefik.address=:{PING}", "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": PING}, "periodSeconds": 1},
    }  # fmt: skip
    pod = {
        "serviceAccountName": NAME,
        "nodeSelector": {"kubernetes.io/hostname": node.name},
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    template = {"metadata": {"labels": {"app": NAME}}, "spec": pod}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": role["name"]}, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role["name"]},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **account}],
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": NAME},
            "spec": {"controller": "traefik.io/ingress-controller"},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": account,
            "spec": {"selector": {"matchLabels": {"app": NAME}}, "template": template},
        },
    ]
