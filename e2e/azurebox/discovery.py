"""What Prometheus' own Kubernetes discovery would do: Debian's Prometheus is built without it.

A small server that Prometheus polls (`http_sd_configs`). It answers with the pods of the cluster as the API server
lists them at that moment, under the same `__meta_kubernetes_pod_*` labels, so that the relabelling in the box is the
usual one, fit for any Prometheus.
"""

import argparse
import http.server
import json
import re
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 4


def targets(pods: Mapping[str, Any]) -> list[dict[str, object]]:
    """Target groups of a PodList: one for each pod that has an address, without a port."""
    return [
        {"targets": [pod["status"]["podIP"]], "labels": labels(pod)}
        for pod in pods["items"]
        if pod["status"].get("podIP")
    ]


def labels(pod: Mapping[str, Any]) -> dict[str, str]:
    """The labels that Prometheus' discovery gives a pod (those that do not depend on its containers)."""
    metadata, status = pod["metadata"], pod["status"]
    found = {
        "__meta_kubernetes_namespace": metadata["namespace"],
        "__meta_kubernetes_pod_name": metadata["name"],
        "__meta_kubernetes_pod_uid": metadata["uid"],
        "__meta_kubernetes_pod_ip": status["podIP"],
        "__meta_kubernetes_pod_host_ip": status.get("hostIP", ""),
        "__meta_kubernetes_pod_node_name": pod["spec"].get("nodeName", ""),
        "__meta_kubernetes_pod_phase": status.get("phase", ""),
    }
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            found["__meta_kubernetes_pod_controller_kind"] = owner["kind"]
            found["__meta_kubernetes_pod_controller_name"] = owner["name"]
    for kind in ("annotation", "label"):
        for key, value in (metadata.get(f"{kind}s") or {}).items():
            found[f"__meta_kubernetes_pod_{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}"] = value
    return found


def main() -> None:
    """Serve the targets at 127.0.0.1:PORT until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", required=True, help="URL of the API server")
    parser.add_argument("--credentials", required=True, type=Path, help="directory with ca.crt, client.crt, client.key")
    parser.add_argument("--port", required=True, type=int)
    options = parser.parse_args()
    context = ssl.create_default_context(cafile=str(options.credentials / "ca.crt"))
    context.load_cert_chain(options.credentials / "client.crt", options.credentials / "client.key")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with urllib.request.urlopen(f"{options.api}/api/v1/pods", context=context, timeout=TIMEOUT_S) as reply:
                body = json.dumps(targets(json.load(reply))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of each poll; failures are shown by Prometheus and in the traceback."""

    http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
