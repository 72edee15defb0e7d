"""A node whose runtime calls Multus, and a stand-in for the API server that has one pod and networks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from datapath.namespaces import Namespace

ANNOTATION = "k8s.v1.cni.cncf.io/networks"
POD = {"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web", "K8S_POD_UID": "2a7c"}
CNI_ARGS = ";".join(f"{key}={value}" for key, value in {"IgnoreUnknown": "1", **POD}.items())
PODS = "/api/v1/namespaces/shop/pods/web"
ATTACHMENTS = "/apis/k8s.cni.cncf.io/v1/namespaces/shop/network-attachment-definitions/"
PORT = 6443
MISSING = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}


@dataclass
class Objects:
    """What Multus finds at the API server, by path, and which of it was read."""

    at: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def want(self, *networks: str) -> None:
        """The pod's annotation."""
        metadata = {"namespace": "shop", "name": "web", "uid": POD["K8S_POD_UID"]}
        metadata |= {"annotations": {ANNOTATION: ",".join(networks)}} if networks else {}
        self.at[PODS] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": {}}

    def define(self, name: str, configuration: dict[str, Any]) -> None:
        """A NetworkAttachmentDefinition."""
        self.at[f"{ATTACHMENTS}{name}"] = {
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"config": json.dumps(configuration)},
        }


@contextmanager
def serving(objects: Objects, node: Namespace) -> Iterator[str]:
    """Its address, which is on the node's loopback. What is written is answered with the object as it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].removesuffix("/status")
            objects.read.append(path)
            found = objects.at.get(path)
            text = json.dumps(
                found or {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_POST(self) -> None:  # events
            self.do_PUT()

        def do_PATCH(self) -> None:
            self.do_PUT()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = node.listen("127.0.0.1", PORT)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{PORT}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_multus(directory: Path, server: str, *, primary: Path) -> None:
    """Multus' conflist, in the directory `multus.net`, as its daemon writes it; it delegates to that of `primary`."""
    cluster = {"name": "c", "cluster": {"server": server}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    users = [{"name": "u", "user": {"token": "multus"}}]
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users}
    (directory / "multus.kubeconfig").write_text(json.dumps(kubeconfig | {"current-context": "x"}))
    entry = {
        "type": "multus",
        "kubeconfig": f"{directory}/multus.kubeconfig",
        "clusterNetwork": str(primary),
        "binDir": f"{directory}/bin",
        "cniDir": f"{directory}/multus.state",
        "confDir": f"{directory}/net.d",
        "logToStderr": False,
    }
    (directory / "multus.net").mkdir(exist_ok=True)
    document = {"cniVersion": "1.0.0", "name": "multus-cni-network", "plugins": [entry]}
    (directory / "multus.net" / "00-multus.conflist").write_text(json.dumps(document))
