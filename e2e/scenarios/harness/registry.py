"""A registry that nodes pull from, and `docker` for a page that builds an image and pushes it there.

The registry keeps images in memory and speaks plain HTTP; `hosts.toml` says so to each node's containerd. It runs in
the network of the control plane's VM.

`python -m scenarios.harness.registry build -t NAME DIRECTORY` gives the name to the image that the box has built from
the Dockerfile of that directory; `push NAME` pushes it, as docker would. It refuses all else.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azurebox import azure, image, processes, tools
from azurebox.facts import CONTROL_PLANE, REPOSITORY
from azurebox.machine import NETNS
from azurebox.steps import StepError, capture, run
from scenarios.harness.node import Node

IMAGE: Final = "AZBOX_IMAGE"
"""Environment: the image that the box has built."""
PORT: Final = 5000
HOSTS: Final = "/etc/containerd/certs.d/{registry}/hosts.toml"


@contextmanager
def serving(nodes: Sequence[Node]) -> Iterator[str]:
    """A registry for these nodes, ADDRESS:PORT; it goes with the block, and so do the nodes' images from it."""
    tools.ensure_tools((tools.REGISTRY,))
    registry = f"{azure.ensure_vm(CONTROL_PLANE).primary}:{PORT}"
    hosts = HOSTS.format(registry=registry)
    command = ["nsenter", f"--net={NETNS / CONTROL_PLANE}", "--", str(tools.path("registry")), registry]
    process = processes.start(f"{CONTROL_PLANE}-registry", command)
    try:
        for node in nodes:
            node.write(hosts, f'server = "http://{registry}"\n')
        yield registry
    finally:
        processes.stop(process, grace_s=0)
        for node in nodes:
            node.run("rm", "-rf", str(Path(hosts).parent))
            listed = node.run("ctr", "--namespace=k8s.io", "images", "ls", "-q").split()
            if pulled := [name for name in listed if name.startswith(f"{registry}/")]:
                node.run("ctr", "--namespace=k8s.io", "images", "rm", *pulled)


def docker(words: Sequence[str], *, built: str) -> None:
    """Carry one command out with the image `built`. Raises StepError."""
    match list(words):
        case ["build", "-t", name, directory] if Path(directory).resolve() == REPOSITORY:
            _build(name, built)
        case ["push", name]:
            target = f"docker://{name}"
            run(image.buildah("push", "--tls-verify=false", name, target), log="image", what=f"push {name}")
        case _:
            raise StepError(f"docker {' '.join(words)}: the stand-in cannot do that")


def _build(name: str, built: str) -> None:
    """The same image with another ID: what a kubelet has pulled, it starts by no name that was loaded into the node."""
    container = capture(image.buildah("from", built), what=f"begin {name}").strip()
    try:
        run(image.buildah("config", f"--label=built-as={name}", container), log="image", what=f"label {name}")
        run(image.buildah("commit", "--quiet", container, name), log="image", what=f"commit {name}")
    finally:
        run(image.buildah("rm", container), log="image", what=f"end {name}")


if __name__ == "__main__":
    try:
        docker(sys.argv[1:], built=os.environ[IMAGE])
    except StepError as error:
        sys.exit(f"ERROR: {error}")
