"""Requests to the API server with a token of the product, made where the product makes them: in its pods.

The token is the one that the kubelet has put into the pod, so that policies see what they see of a real agent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azurebox.client import Box
from scenarios.harness.product import NAMESPACE

OBJECTS = "/apis/azure-cni.io/v1alpha1"
PYTHON = "/opt/azure-cni/bin/python"

SEND = """
import os, ssl, sys, urllib.error, urllib.request
method, path, body, token = sys.argv[1:]
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
request = urllib.request.Request(
    "https://%s:%s%s" % (os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"], path),
    data=body.encode() or None,
    method=method,
    headers={
        "Authorization": "Bearer " + (token or open(account + "token").read()),
        "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
    },
)
try:
    reply = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "ca.crt"), timeout=10)
except urllib.error.HTTPError as error:
    reply = error
print(reply.status, reply.read().decode())
"""
"""One request, made by the product's own Python in its own pod: the images have no curl."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API server says: HTTP status, and the object or the Status."""

    status: int
    document: dict[str, Any]

    @property
    def message(self) -> str:
        """A Status' sentence."""
        return str(self.document.get("message", ""))

    def accepted(self) -> dict[str, Any]:
        """The object; the test fails when it was refused."""
        assert self.status in (200, 201), self.message
        return self.document

    def refused(self, status: int, *words: str) -> None:
        """The test fails unless it was refused so, in these words."""
        assert self.status == status, self.message
        assert [part for part in words if part not in self.message] == [], self.message


class Caller:
    """A process of the product, asking with its own token; or from its pod with another one."""

    def __init__(self, box: Box, pod: str, token: str = "") -> None:
        self._box, self._pod, self._token = box, pod, token

    def get(self, path: str) -> dict[str, Any]:
        """An object."""
        return self._send("GET", path, "").accepted()

    def create(self, path: str, document: Mapping[str, Any]) -> Reply:
        """A new object in a collection."""
        return self._send("POST", path, json.dumps(document))

    def patch(self, path: str, patch: Mapping[str, Any]) -> Reply:
        """A JSON merge patch."""
        return self._send("PATCH", path, json.dumps(patch))

    def status(self, resource: str, status: Mapping[str, Any]) -> Reply:
        """A merge patch of an azure-cni object's status; `resource` is such as nodeippools/NAME."""
        return self.patch(f"{OBJECTS}/{resource}/status", {"status": status})

    def _send(self, method: str, path: str, body: str) -> Reply:
        command = (PYTHON, "-c", SEND, method, path, body, self._token)
        status, _, document = self._box.kubectl("exec", "-n", NAMESPACE, self._pod, "--", *command).partition(" ")
        return Reply(int(status), json.loads(document))
