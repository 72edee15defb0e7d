"""Metrics by https, for whoever has the right and a token: Prometheus reads them, others do not, and probes go on."""

from collections.abc import Iterator
from functools import partial

import pytest

from azurebox import prometheus
from azurebox.client import Box
from azurebox.pki import Authority
from scenarios.harness.node import Node
from scenarios.harness.product import NAMESPACE, QUICK, Product
from scenarios.harness.scrapes import await_query, scrape

SECRET = "azure-cni-metrics"
VALUES = QUICK | {
    "metrics.tls.enabled": "true",
    "metrics.auth": "token",
    "metrics.tokenAudience": prometheus.AUDIENCE,
}
PORTS = {"agent": 9810, "controller": 9811}
PODS = "app.kubernetes.io/name=azure-cni"
ROLE = "azure-cni-metrics-reader"
BINDING = "scenarios-metrics"
ADMITTED_S = 120.0
"""A refusal from before the right was given counts for 30 s, to each agent and controller that came up until then."""
SHOWN_S = 300.0
"""The kubelet shows a Secret's change when it looks at the pod: once annotated, else within a minute and a half."""


@pytest.fixture(scope="module", autouse=True)
def scraper(box: Box, as_found: None) -> Iterator[None]:  # noqa: ARG001  # the product runs with VALUES
    """Prometheus' account has the right to read metrics."""
    account = f"--serviceaccount={prometheus.NAMESPACE}:{prometheus.USER}"
    box.kubectl("create", "clusterrolebinding", BINDING, f"--clusterrole={ROLE}", account)
    yield
    box.kubectl("delete", "clusterrolebinding", BINDING)


def url(node: Node, process: str = "agent") -> str:
    return f"https://{node.primary()}:{PORTS[process]}/metrics"


def _shown(node: Node, where: str, token: str) -> bool:
    return scrape(node, where, token=token).status == 200


def test_prometheus_scrapes_agents_and_controllers_by_https(box: Box, nodes: list[Node]) -> None:
    """All of them are up, and its numbers are those of the ledger."""
    everybody = f'count(up{{job="{prometheus.TLS_JOB}"}} == 1)'
    await_query(box, everybody, 2 * len(nodes), within_s=ADMITTED_S)
    for node in nodes:
        held = f'sum(azure_cni_pool_addresses{{job="{prometheus.TLS_JOB}",node="{node.name}"}})'
        await_query(box, held, node.ledger().allocated)
    await_query(box, f'sum(azure_cni_controller_leader{{job="{prometheus.TLS_JOB}"}})', 1)


@pytest.mark.parametrize("process", PORTS)
def test_only_a_token_with_the_right_is_shown_metrics(box: Box, nodes: list[Node], process: str) -> None:
    """Without one 401, also for the API server's own audience; 403 where the right is missing, with the name."""
    account = "scenarios-nobody"
    box.kubectl("create", "serviceaccount", account, "-n", NAMESPACE)
    try:
        without = box.kubectl("create", "token", account, "-n", NAMESPACE, f"--audience={prometheus.AUDIENCE}").strip()
        for node in nodes:
            where, token = url(node, process), prometheus.token()
            box.wait_for(partial(_shown, node, where, token), ADMITTED_S, "the right to read metrics to count")
            good = scrape(node, where, token=token)
            assert good.status == 200
            assert "azure_cni_build_info" in good.text
            assert scrape(node, where).status == 401
            assert scrape(node, where, token="invented").status == 401
            assert scrape(node, where, token=prometheus.token(audience="")).status == 401
            refused = scrape(node, where, token=without)
            assert refused.status == 403
            assert f"system:serviceaccount:{NAMESPACE}:{account} may not get /metrics" in refused.text
    finally:
        box.kubectl("delete", "serviceaccount", account, "-n", NAMESPACE)


@pytest.mark.parametrize("process", PORTS)
def test_the_nodes_address_speaks_tls_only_and_loopback_shows_probes_only(nodes: list[Node], process: str) -> None:
    for node in nodes:
        assert scrape(node, url(node, process).replace("https:", "http:"), token=prometheus.token()).status == 0
        inside = f"http://127.0.0.1:{PORTS[process]}"
        found = {path: scrape(node, inside + path).status for path in ("/healthz", "/readyz", "/metrics")}
        assert found == {"/healthz": 200, "/readyz": 200, "/metrics": 404}


def test_probes_have_ended_no_container(box: Box, product: Product) -> None:
    """Nothing that the kubelet asks meets TLS or needs a token."""
    product.await_ready()
    pods = box.kubectl_json("get", "pods", "-n", NAMESPACE, "-l", PODS)["items"]
    assert {status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]} == {0}


def test_a_secrets_certificate_is_served_once_it_is_there_and_agents_do_not_wait(
    box: Box, product: Product, nodes: list[Node], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The agents are ready before there is a certificate. The one that comes, and the next, need no restart."""
    product.install(VALUES | {"metrics.tls.secretName": SECRET})
    assert {scrape(node, url(node)).status for node in nodes} == {0}
    names = tuple(f"azure-cni-{process}-metrics.{NAMESPACE}.svc" for process in PORTS)
    try:
        for number in (1, 2):
            authority = Authority(tmp_path_factory.mktemp(f"authority-{number}"))
            pair = authority.issue("azure-cni", names=names)
            box.apply({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": SECRET, "namespace": NAMESPACE},
                "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.pem},
            })  # fmt: skip
            has_the_kubelet_look = f"scenarios/certificate={number}"
            box.kubectl("annotate", "pods", "-n", NAMESPACE, "-l", PODS, has_the_kubelet_look, "--overwrite")

            def served(pem: str = authority.pem) -> bool:
                token = prometheus.token()
                replies = [scrape(node, url(node), token=token, authority=pem, name=names[0]) for node in nodes]
                return {reply.status for reply in replies} == {200}

            box.wait_for(served, SHOWN_S, f"certificate {number} to be served", poll_s=3)
    finally:
        box.kubectl("delete", "secret", SECRET, "-n", NAMESPACE, "--ignore-not-found")
