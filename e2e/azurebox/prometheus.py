"""Prometheus (Debian's) on the control plane's VM, scraping pods by their `prometheus.io/*` annotations.

A pod with `prometheus.io/scrape: "true"` is scraped at its address, port `prometheus.io/port` and path
`prometheus.io/path` (`/metrics` when absent): the convention that many charts follow.

Pods of azure-cni that say `prometheus.io/scheme: https` are scraped by a job of their own, with a token that is good
for nothing else: a job for any pod would show it to whoever asks. The token is that of the service account
`kube-system/azbox-prometheus`, which has no rights unless somebody gives it some.
"""

import json

from azurebox import processes
from azurebox.controlplane import ControlPlane, kubectl
from azurebox.facts import RUN
from azurebox.machine import python_in
from azurebox.processes import Process
from azurebox.steps import write_whole

USER = "azbox-prometheus"
PORT = 9090
SCRAPE_INTERVAL = "5s"
DISCOVERY_PORT = 9091
NAMESPACE = "kube-system"
AUDIENCE = "azure-cni-metrics"
"""Of the token: `metrics.tokenAudience` of the chart."""
TOKEN = "/etc/prometheus/azure-cni-token"
TOKEN_VALID_FOR = "720h"
TLS_JOB = "azure-cni"
CREDENTIALS = RUN / "prometheus"
ANNOTATION = "__meta_kubernetes_pod_annotation_prometheus_io"

# Elsewhere: "kubernetes_sd_configs": [{"role": "pod"}]; see discovery.py.
DISCOVERY = {"http_sd_configs": [{"url": f"http://127.0.0.1:{DISCOVERY_PORT}/", "refresh_interval": "5s"}]}

RELABELLING = [
    {"source_labels": [f"{ANNOTATION}_scrape"], "regex": "true", "action": "keep"},
    {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Running", "action": "keep"},
    # One target a pod, whatever ports its containers declare: address and port are the annotation's.
    {
        "source_labels": ["__meta_kubernetes_pod_ip", f"{ANNOTATION}_port"],
        "separator": ":",
        "regex": r"(.+:\d+)",
        "target_label": "__address__",
        "action": "replace",
    },
    {
        "source_labels": [f"{ANNOTATION}_path"],
        "regex": "(.+)",
        "target_label": "__metrics_path__",
        "action": "replace",
    },
    {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
    {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
]

CONFIGURATION = {
    "global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": "4s"},
    "scrape_configs": [
        {
            "job_name": "pods",
            **DISCOVERY,
            "relabel_configs": [
                {"source_labels": [f"{ANNOTATION}_scheme"], "regex": "(http)?", "action": "keep"},
                *RELABELLING,
            ],
        },
        {
            "job_name": TLS_JOB,
            "scheme": "https",
            "tls_config": {"insecure_skip_verify": True},
            "authorization": {"credentials_file": TOKEN},
            **DISCOVERY,
            "relabel_configs": [
                {"source_labels": [f"{ANNOTATION}_scheme"], "regex": "https", "action": "keep"},
                {
                    "source_labels": [
                        "__meta_kubernetes_namespace",
                        "__meta_kubernetes_pod_label_app_kubernetes_io_name",
                    ],
                    "separator": "/",
                    "regex": f"{NAMESPACE}/azure-cni",
                    "action": "keep",
                },
                *RELABELLING,
            ],
        },
    ],
}

PERMISSIONS = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": USER},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": USER, "namespace": NAMESPACE}},
    ],
}


def token(*, audience: str = AUDIENCE) -> str:
    """A new token of Prometheus' service account, for that audience; "": the API server's own."""
    made = ("create", "token", USER, f"--namespace={NAMESPACE}", f"--duration={TOKEN_VALID_FOR}")
    return kubectl(*made, *([f"--audience={audience}"] if audience else [])).strip()


def start(control_plane: ControlPlane) -> Process:
    """Start Prometheus unless it runs; the API server must be ready."""
    machine = control_plane.machine
    if not (CREDENTIALS / "client.key").exists():
        kubectl("apply", "-f", "-", stdin=json.dumps(PERMISSIONS))
        pair = control_plane.authority.issue(USER)
        machine.write("/etc/prometheus/azbox.json", json.dumps(CONFIGURATION, indent=1))
        machine.write(TOKEN, token(), mode=0o600)
        write_whole(CREDENTIALS / "ca.crt", control_plane.authority.pem)
        write_whole(CREDENTIALS / "client.crt", pair.certificate)
        write_whole(CREDENTIALS / "client.key", pair.key, mode=0o600)
    processes.start(
        f"{machine.name}-discovery",
        python_in(machine.netns, "azurebox.discovery",
                  f"--api={control_plane.url}", f"--credentials={CREDENTIALS}", f"--port={DISCOVERY_PORT}"),
        env=processes.PYTHON_ENVIRONMENT,
    )  # fmt: skip
    return machine.service(
        "prometheus",
        ["prometheus", "--config.file=/etc/prometheus/azbox.json", "--storage.tsdb.path=/var/lib/prometheus",
         "--storage.tsdb.retention.size=512MB", f"--web.listen-address=0.0.0.0:{PORT}", "--log.level=warn"],
    )  # fmt: skip
