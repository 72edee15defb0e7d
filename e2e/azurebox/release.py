"""`e2e/box install`: the project's image into every node, the project's chart into the cluster."""

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from azurebox import lifecycle, project_image
from azurebox.controlplane import kubectl, people, people_environment
from azurebox.facts import AGNHOST, ATTESTATION_CA, AZURE_CA, REPOSITORY, RUN
from azurebox.image import MIB
from azurebox.node import load_image
from azurebox.steps import StepError, say, step, wait_for

CHART = REPOSITORY / "charts" / "azure-cni"
VALUES = REPOSITORY / "e2e" / "azurebox" / "values.yaml"
NAME, NAMESPACE = "azure-cni", "kube-system"
SELECTOR = f"app.kubernetes.io/instance={NAME}"
READY_TIMEOUT_S = 300
MODES = ("transparent", "bridge")
_MODE = RUN / "mode"


def remember_mode(mode: str) -> None:
    """Have azure-cni wire pods in this mode from the next install on, for as long as the box lives."""
    _MODE.write_text(mode)


def mode() -> str:
    """The mode that was chosen for this box."""
    return _MODE.read_text() if _MODE.exists() else MODES[0]


def install(arguments: Sequence[str]) -> None:
    """Build, load, and `helm upgrade --install` with `arguments` after the box's own.

    Raises:
        StepError: the box is not up, or one of the three failed.

    """
    lifecycle.require_up()
    built = project_image.ensure()
    say(f"{built.name}: {built.size / MIB:.0f} MiB unpacked")
    machines = lifecycle.node_machines()
    with (
        step(f"load it into {len(machines)} nodes"),
        ThreadPoolExecutor(max_workers=lifecycle.NODES_AT_ONCE) as workers,
    ):
        list(workers.map(lambda machine: load_image(machine, built.archive), machines))
    repository, _, tag = built.name.rpartition(":")
    trust_fake_azure()
    with step("helm upgrade --install"):
        helm(
            "upgrade", "--install", NAME, str(CHART), f"--namespace={NAMESPACE}", f"--values={VALUES}",
            f"--set-string=image.repository={repository}", f"--set-string=image.tag={tag}",
            f"--set-string=helmTest.image={AGNHOST}", f"--set=mode={mode()}", *arguments,
        )  # fmt: skip
    with step("agents ready, nodes ready"):
        wait_for(nodes_ready, timeout_s=READY_TIMEOUT_S, what="the nodes to be ready", explain=agents_tell)


def installed_image() -> Path:
    """The archive of the image that is installed, for a node that comes later; built where it is not kept any more."""
    values = json.loads(helm("get", "values", NAME, f"--namespace={NAMESPACE}", "--output=json"))
    archive = project_image.archive_of(values["image"]["tag"])
    return archive if archive.exists() else project_image.ensure().archive


def trust_fake_azure() -> None:
    """Put the fake Azure's certificate authorities where the values say."""
    files = (f"--from-file=ca.crt={AZURE_CA}", f"--from-file=attestation-ca.crt={ATTESTATION_CA}")
    options = ("create", "configmap", "azbox-ca", f"--namespace={NAMESPACE}", *files)
    kubectl("apply", "-f", "-", stdin=kubectl(*options, "--dry-run=client", "--output=json"))


def nodes_ready() -> bool:
    """Whether every node that is up says Ready, and all agents and controllers are of this installation and ready."""
    path = r'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
    nodes = kubectl("get", "nodes", "--output", path).split()
    return nodes == ["True"] * len(lifecycle.node_machines()) and all(map(_rolled_out, ("daemonset", "deployment")))


def _rolled_out(kind: str) -> bool:
    """Whether all of this kind that the release has are as it wants them; also when it has none."""
    reported = kubectl("rollout", "status", kind, f"--namespace={NAMESPACE}", "--selector", SELECTOR, "--watch=false")
    return all("successfully rolled out" in line for line in reported.splitlines())


def agents_tell() -> str:
    """What the pods of the release look like and what they say last."""
    selected = (f"--namespace={NAMESPACE}", "--selector", SELECTOR)
    pods = kubectl("get", "pods", *selected, "--output=wide")
    try:
        return pods + kubectl("logs", *selected, "--tail=8", "--prefix", "--all-containers")
    except StepError as error:
        return pods + error.output


def helm(*args: str) -> str:
    """Run helm as the administrator and return its output.

    Raises:
        StepError: it failed; carries what it said.

    """
    done = subprocess.run(
        people("helm", *args), env=people_environment(), capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        raise StepError(f"cannot helm {args[0]}: status {done.returncode}", output=done.stderr or done.stdout)
    return done.stdout
