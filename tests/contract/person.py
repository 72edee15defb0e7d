"""A person at a shell, with kubectl and azure-cni before a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from azure_cni.commands.access import ClusterAccess, KubernetesAccess
from azure_cni.commands.pod_access import PodAccess
from azure_cni.kube.client import KubeEndpoint
from azurebox import tools
from unit.chart.helm import REPOSITORY


class Shell:
    """A person's: kubectl and azure-cni on the path, in a checkout."""

    def __init__(self, config: str) -> None:
        self.access = KubernetesAccess(kubeconfig=config)
        programs = (tools.path("kubectl").parent, Path(sys.executable).parent)
        self._environment = os.environ | {
            "PATH": ":".join([*map(str, programs), os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "KUBECONFIG": config,
        }

    def run(self, command: str, *, stdin: str = "") -> str:
        """What it prints; it must not fail."""
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=REPOSITORY,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def read(self, what: str) -> dict[str, Any]:
        """An object, KIND/NAME, of kube-system or of none."""
        found: dict[str, Any] = json.loads(self.run(f"kubectl -n kube-system get {what} -o json"))
        return found


def kubeconfig(
    directory: Path, *, url: str, token: str = "", user: dict[str, object] | None = None, ca_file: Path | None = None
) -> str:
    """As kubectl has it: with a token, or whatever else says who it is."""
    ca = {"certificate-authority": str(ca_file)} if ca_file else {}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "mine"}}],
        "clusters": [{"name": "c", "cluster": {"server": url, **ca}}],
        "users": [{"name": "u", "user": user or {"token": token}}],
    }
    path = directory / f"{uuid.uuid4().hex[:8]}.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return str(path)


Way = Callable[[Path, str], ClusterAccess]
"""To the cluster at a URL, with the token `secret`; in a directory there is room for its files."""
WAYS: Final[dict[str, Way]] = {
    "kubeconfig": lambda directory, url: KubernetesAccess(kubeconfig=kubeconfig(directory, url=url, token="secret")),
    "pod": lambda _, url: PodAccess(KubeEndpoint(url, token="secret")),
}
