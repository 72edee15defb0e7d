"""docs/getting-started.md, every command of it, on nodes that have no network yet: what it shows is what is printed.

Real are the cluster, helm, the registry and the pulls from it, and the file that `make zipapp` builds. `az` and
`docker` are stand-ins (`harness.az`, `harness.registry`). Azure allows only what the page's commands have it allow.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azurebox import clusterdns, tools
from azurebox.client import Box
from azurebox.controlplane import people_environment
from azurebox.facts import AGNHOST, CONTROL_PLANE, REPOSITORY, RESOURCE_GROUP
from azurebox.machine import NETNS
from azurebox.processes import PYTHON_ENVIRONMENT
from scenarios.harness import az, page, registry
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import Node
from scenarios.harness.product import QUICK, Product

PAGE = REPOSITORY / "docs" / "getting-started.md"
IDENTITY = "azure-cni"
WITHIN_S = 900.0
NOT_READY_S = 120.0


@pytest.fixture
def bare(box: Box, cloud: Cloud, product: Product, nodes: list[Node]) -> Iterator[None]:
    """A cluster as kubeadm leaves it, and an Azure in which nobody may do anything yet; afterwards all is as before."""
    product.uninstall()
    try:
        for node in nodes:
            node.clean()
        box.wait_for(lambda: not _ready(box), NOT_READY_S, "nodes without a network to be NotReady")
        clusterdns.apply()
        box.azure("PUT", "/permissions", {"actions": []})
        yield
    finally:
        box.kubectl("delete", "deployment", "web", "--ignore-not-found", "--wait=false")
        clusterdns.withdraw()
        cloud.put_right()
        product.install(QUICK)
        box.azure("PUT", f"/identities/{IDENTITY}")
        box.azure("DELETE", f"/identities/{IDENTITY}")


@pytest.mark.usefixtures("bare")
def test_every_command_of_the_page_prints_what_it_shows(
    product: Product, nodes: list[Node], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    began_s = time.monotonic()
    with registry.serving(nodes) as address:
        ran = page.run(
            page.with_names(PAGE.read_text(), {"REGISTRY": address, "GROUP": RESOURCE_GROUP, "IMAGE": AGNHOST}),
            shell=("nsenter", f"--net={NETNS / CONTROL_PLANE}", "--"),
            environment=_environment(product, tmp_path),
            directory=REPOSITORY,
            within_s=WITHIN_S,
        )
    figure(f"getting started: {len(ran)} commands in {time.monotonic() - began_s:.0f} s")
    lost = {
        one.command.text: (gone, one.printed) for one in ran if (gone := page.missing(one.command.shown, one.printed))
    }
    assert lost == {}


def _ready(box: Box) -> list[str]:
    """The nodes that say Ready."""
    path = r'jsonpath={range .items[*]}{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
    lines = (line.split() for line in box.kubectl("get", "nodes", "-o", path).splitlines())
    return [name for name, status in lines if status == "True"]


def _environment(product: Product, directory: Path) -> dict[str, str]:
    """Of the shell: the box's kubectl and helm, and stand-ins for what the box has not got."""
    programs = directory / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(tools.path("kubectl"))
    more = f"--set azure.caBundle.configMap=azbox-ca --set mode={product.mode}"
    _script(programs / "helm", f'test "$1" != install || set -- "$@" {more}\nexec {tools.path("helm")} "$@"')
    # They find the box's cache, whose place the shell's own does not say.
    own = {"PYTHONPATH": PYTHON_ENVIRONMENT["PYTHONPATH"], "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", "")}
    variables = shlex.join(f"{name}={value}" for name, value in own.items())
    for name, module in (("az", "az"), ("docker", "registry")):
        _script(programs / name, f'exec env {variables} {sys.executable} -m scenarios.harness.{module} "$@"')
    known = people_environment()
    return known | {
        "PATH": f"{programs}:{known['PATH']}",
        "XDG_CACHE_HOME": str(directory / "cache"),  # where the file that make zipapp builds is unpacked
        az.ROLES: str(directory / "roles.json"),
        registry.IMAGE: product.image,
    }


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
