"""As much of an API server as helm's `lookup` needs: what kinds there are, and a list of VNetQuotas. Loopback only."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GROUP = "azure-cni.io"
VERSION = f"{GROUP}/v1alpha1"


def _documents(quotas: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    names = {"groupVersion": VERSION, "version": "v1alpha1"}
    kind = {"name": "vnetquotas", "namespaced": False, "kind": "VNetQuota", "verbs": ["get", "list"]}
    items = [
        {"apiVersion": VERSION, "kind": "VNetQuota", "metadata": {"name": name}, "spec": dict(spec)}
        for name, spec in quotas.items()
    ]
    return {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [{"name": GROUP, "versions": [names], "preferredVersion": names}],
        },
        f"/apis/{VERSION}": {"kind": "APIResourceList", "groupVersion": VERSION, "resources": [kind]},
        f"/apis/{VERSION}/vnetquotas": {"kind": "VNetQuotaList", "apiVersion": VERSION, "items": items},
    }


@contextlib.contextmanager
def serving(quotas: Mapping[str, Mapping[str, int]], directory: Path) -> Iterator[Path]:
    """Answer while the block runs; yields the kubeconfig that leads there."""
    documents = _documents(quotas)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path.partition("?")[0])
            body = json.dumps(found or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = directory / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "users": [{"name": "fake", "user": {}}],
                "current-context": "fake",
            }
        )
    )
    try:
        yield file
    finally:
        server.shutdown()
        server.server_close()
