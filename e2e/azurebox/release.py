"""`e2e/box install`: the project's image into every node, the project's chart into the cluster."""

import subprocess
from collections.abc import Sequence

from azurebox import image, lifecycle
from azurebox.controlplane import people, people_environment
from azurebox.facts import REPOSITORY
from azurebox.node import load_image
from azurebox.steps import StepError, say, step

CHART = REPOSITORY / "charts" / "azure-cni"
VALUES = REPOSITORY / "e2e" / "azurebox" / "values.yaml"
NAME, NAMESPACE = "azure-cni", "kube-system"
MIB = 1024 * 1024


def install(arguments: Sequence[str]) -> None:
    """Build, load, and `helm upgrade --install` with `arguments` after the box's own.

    Raises:
        StepError: the box is not up, or one of the three failed.

    """
    lifecycle.require_up()
    with step("image from the Dockerfile"):
        built = image.build_project()
    say(f"{built.name}: {built.size / MIB:.0f} MiB unpacked")
    for machine in lifecycle.nodes():
        with step(f"load it into {machine.name}"):
            load_image(machine, built.archive)
    repository, _, tag = built.name.rpartition(":")
    with step("helm upgrade --install"):
        helm(
            "upgrade", "--install", NAME, str(CHART), f"--namespace={NAMESPACE}", f"--values={VALUES}",
            f"--set-string=image.repository={repository}", f"--set-string=image.tag={tag}", *arguments,
        )  # fmt: skip


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
