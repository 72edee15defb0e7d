"""Renders the chart with the real helm: the machine's own, or the one that the box built and keeps.

What was rendered once is kept: most tests look at the same few installations. It is parsed anew for each, by libyaml.
"""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from azurebox import tools

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "charts" / "azure-cni"
CRDS = REPOSITORY / "crds"
KUBE_VERSION = "1.36.3"

GUID = "00000000-0000-0000-0000-000000000001"
WORKLOAD = f"azure.identity=workload,azure.clientID={GUID},azure.tenantID={GUID}"
METRICS = ("metrics.tls.enabled=true,metrics.tls.secretName=a,metrics.auth=token,metrics.tokenAudience=b",)
POD_SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/pods"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


class Refused(Exception):
    """Helm did not render the chart; the text is what a person sees."""


@cache
def helm() -> str:
    found = shutil.which("helm") or str(tools.path("helm"))
    if not Path(found).exists():
        pytest.fail("cannot test the chart without helm: install it, or let `e2e/box up` build it once")
    return found


@cache
def template(
    *values: str,
    file: str = "{}",
    unchecked: bool = False,
    kube_version: str = KUBE_VERSION,
    namespace: str = "kube-system",
) -> str:
    """What `helm template` prints with these `--set` arguments, over a values file of this text.

    `unchecked` leaves out the schema of the values.
    """
    settings = [argument for value in values for argument in ("--set", value)]
    if unchecked:
        settings.append("--skip-schema-validation")
    command = [helm(), "template", "azure-cni", CHART, "-n", namespace, "--kube-version", kube_version, "-f", "-"]
    done = subprocess.run([*command, *settings], input=file, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    assert not done.stderr, "helm would say this on every installation"
    return done.stdout


def render(*values: str, namespace: str = "kube-system") -> list[dict[str, Any]]:
    """The objects that the chart makes of these values."""
    documents = yaml.load_all(template(*values, namespace=namespace), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def of_kind(kind: str, *values: str, name: str | None = None, namespace: str = "kube-system") -> dict[str, Any]:
    """The one object of this kind, and of this name where there are more, that the chart makes of these values."""
    (found,) = (
        manifest
        for manifest in render(*values, namespace=namespace)
        if manifest["kind"] == kind and name in (None, manifest["metadata"]["name"])
    )
    return found


def agent_pod(*values: str) -> dict[str, Any]:
    """The DaemonSet's pod template."""
    return of_kind("DaemonSet", *values)["spec"]["template"]


def agent_env(*values: str) -> dict[str, str | None]:
    """The agent's environment; None for what is known on the node only."""
    return _env(agent_pod(*values))


def controller_pod(*values: str) -> dict[str, Any]:
    """The Deployment's pod template."""
    return of_kind("Deployment", *values)["spec"]["template"]


def controller_env(*values: str) -> dict[str, str | None]:
    """The controller's environment; None for what only its pod knows."""
    return _env(controller_pod(*values))


def _env(pod: dict[str, Any]) -> dict[str, str | None]:
    (container,) = pod["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def rights(role: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """Verbs by group and resource; each resource is in one rule."""
    found = [
        ((rule["apiGroups"][0], resource), rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


class Asked(dict[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self, environ: dict[str, str]) -> None:
        super().__init__(environ)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)
