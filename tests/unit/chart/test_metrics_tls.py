"""Metrics with TLS and tokens: what the chart gives to agent, controller, Prometheus and whoever scrapes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azure_cni.entrypoints import controller_settings, settings
from azure_cni.entrypoints.metrics_auth import PATH
from azure_cni.entrypoints.web import TlsSettings, WebSettings
from unit.chart.helm import (
    Refused,
    agent_env,
    agent_pod,
    controller_env,
    controller_pod,
    of_kind,
    render,
    rights,
    template,
)

TLS = "metrics.tls.enabled=true"
TOKEN = f"{TLS},metrics.auth=token"
SECRET = f"{TLS},metrics.tls.secretName=azure-cni-metrics"
MONITOR = "metrics.serviceMonitor.enabled=true"
PROCESSES = ("agent", "controller")
PODS: dict[str, Callable[..., dict[str, Any]]] = {"agent": agent_pod, "controller": controller_pod}
REVIEWS = {
    ("authentication.k8s.io", "tokenreviews"): ["create"],
    ("authorization.k8s.io", "subjectaccessreviews"): ["create"],
}


def web(process: str, *values: str) -> WebSettings:
    """What a process reads of the environment that the chart gives it."""
    facts = {
        "AZURE_CNI_NODE_NAME": "vm1", "AZURE_CNI_HOST_IP": "10.240.0.4",
        "AZURE_CNI_POD_NAME": "azure-cni-controller-x", "AZURE_CNI_NAMESPACE": "kube-system",
    }  # fmt: skip
    found = (agent_env if process == "agent" else controller_env)(*values)
    environ = {name: facts[name] if value is None else value for name, value in found.items()}
    return (settings if process == "agent" else controller_settings).read(environ).web


@pytest.mark.parametrize("process", PROCESSES)
def test_the_values_reach_both_processes_as_they_read_them(process: str):
    port = 9810 if process == "agent" else 9811
    plain = WebSettings(port, settings.Bind.NODE, "10.240.0.4")
    assert web(process) == plain
    assert web(process, TLS) == WebSettings(port, plain.bind, plain.node_address, tls=TlsSettings())
    both = web(process, SECRET, TOKEN, "metrics.tokenAudience=azure-cni-metrics")
    directory = Path("/etc/azure-cni/metrics-tls")
    assert both == WebSettings(
        port, plain.bind, plain.node_address, tls=TlsSettings(directory), tokens=True, audience="azure-cni-metrics"
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_the_secret_is_mounted_where_it_is_read_and_its_absence_keeps_no_pod_from_its_start(process: str):
    spec = PODS[process](SECRET)["spec"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "metrics-tls"]
    assert mount == {"name": "metrics-tls", "mountPath": "/etc/azure-cni/metrics-tls", "readOnly": True}
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "metrics-tls"]
    assert volume["secret"] == {"secretName": "azure-cni-metrics", "optional": True}
    for values in ((), (TOKEN,)):
        assert "metrics-tls" not in str(PODS[process](*values)["spec"])


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("values", [(), (TLS,), (TOKEN,)], ids=str)
def test_only_who_checks_tokens_may_ask_about_them(process: str, values: tuple[str, ...]):
    found = rights(of_kind("ClusterRole", *values, name=f"azure-cni-{process}"))
    without = rights(of_kind("ClusterRole", name=f"azure-cni-{process}"))
    assert found == without | (REVIEWS if TOKEN in values else {})
    assert not REVIEWS.keys() & without.keys()


def test_there_is_a_role_for_scrapers_of_what_is_checked_and_nothing_else():
    role = of_kind("ClusterRole", TOKEN, name="azure-cni-metrics-reader")
    assert role["rules"] == [{"nonResourceURLs": [PATH], "verbs": ["get"]}]
    assert "azure-cni-metrics-reader" not in template(TLS)


@pytest.mark.parametrize("process", PROCESSES)
def test_probes_stay_plain_and_on_loopback(process: str):
    (container,) = PODS[process](TOKEN)["spec"]["containers"]
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["host"] == "127.0.0.1"
        assert asked.get("scheme", "HTTP") == "HTTP"


@pytest.mark.parametrize("process", PROCESSES)
def test_annotations_say_the_scheme(process: str):
    schemes = [
        PODS[process](*values)["metadata"]["annotations"]["prometheus.io/scheme"] for values in ((), (TLS,), (TOKEN,))
    ]
    assert schemes == ["http", "https", "https"]


def endpoint(process: str, *values: str) -> dict[str, Any]:
    """How the ServiceMonitor has Prometheus scrape."""
    (found,) = of_kind("ServiceMonitor", MONITOR, *values, name=f"azure-cni-{process}")["spec"]["endpoints"]
    return {name: found[name] for name in ("scheme", "tlsConfig", "authorization", "bearerTokenFile") if name in found}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_service_monitor_scrapes_as_the_port_is_served(process: str):
    token = {"bearerTokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}
    unchecked = {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}}
    assert endpoint(process) == {}
    assert endpoint(process, TLS) == unchecked
    assert endpoint(process, TOKEN) == unchecked | token
    checked = endpoint(process, TOKEN, SECRET)
    assert (
        checked
        == {
            "scheme": "https",
            "tlsConfig": {
                "ca": {"secret": {"name": "azure-cni-metrics", "key": "ca.crt"}},
                "serverName": f"azure-cni-{process}-metrics.kube-system.svc",
            },
        }
        | token
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_the_name_that_is_checked_is_its_services(process: str):
    host, namespace, _ = endpoint(process, SECRET)["tlsConfig"]["serverName"].split(".")
    services = {found["metadata"]["name"] for found in render(MONITOR) if found["kind"] == "Service"}
    assert host in services
    assert namespace == "kube-system"


def test_what_a_service_monitor_is_given_counts():
    assert endpoint(
        "agent",
        f"{TOKEN},metrics.tokenAudience=azure-cni-metrics",
        "metrics.serviceMonitor.tlsConfig.serverName=metrics.example",
        "metrics.serviceMonitor.authorization.credentials.name=scraper",
        "metrics.serviceMonitor.authorization.credentials.key=token",
    ) == {
        "scheme": "https",
        "tlsConfig": {"serverName": "metrics.example"},
        "authorization": {"credentials": {"name": "scraper", "key": "token"}},
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("metrics.auth=token", "metrics.auth is token, which needs metrics.tls.enabled: whoever reads a token on the"),
        ("metrics.auth=basic", "value must be one of 'none', 'token'"),
        (f"{TLS},metrics.bind=loopback", "metrics.tls.enabled needs metrics.bind node: it is loopback"),
        (f"{TLS},metrics.bind=none", "metrics.tls.enabled needs metrics.bind node: it is none"),
        ("metrics.tls.secretName=a", "metrics.tls.secretName is a, which nothing uses without metrics.tls.enabled"),
        (f"{TLS},metrics.tls.secretName=A_b", "at '/metrics/tls/secretName'"),
        (f"{TLS},metrics.tokenAudience=a", "metrics.tokenAudience is set, which nothing uses without metrics.auth"),
        ("metrics.serviceMonitor.tlsConfig.serverName=a", "metrics.serviceMonitor.tlsConfig is set, which nothing"),
        ("metrics.serviceMonitor.authorization.type=a", "metrics.serviceMonitor.authorization is set, which nothing"),
        (f"{TOKEN},metrics.tokenAudience=a,{MONITOR}", "needs metrics.serviceMonitor.authorization: the token of"),
        ("metrics.tls=null", "missing property 'tls'"),  # what an older version's reused values look like
    ],
)
def test_what_does_not_fit_together_is_refused_with_a_sentence(value: str, said: str):
    with pytest.raises(Refused, match=re.escape(said)):
        template(value)
