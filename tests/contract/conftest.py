"""The places where the contract of the Kubernetes ports is tried; a real API server among them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azure_cni.kube.client import KubeEndpoint
from azurebox import tools
from contract.kube_world import HTTP, MEMORY, Place
from contract.person import Shell, kubeconfig

if TYPE_CHECKING:
    from contract.admission_world import Admission

PLACES = {place.kind: place for place in (MEMORY, HTTP)}
REAL = "apiserver"


@pytest.fixture(scope="session")
def apiserver() -> Iterator[Place]:
    """A real etcd and kube-apiserver with our definitions, for all tests that ask; it goes with what they made."""
    if shutil.which("etcd") is None or not tools.path("kube-apiserver").exists():
        pytest.skip("there is no etcd or no kube-apiserver here: run e2e/box packages (as root) and e2e/box tools")
    from simulation.cluster import Cluster, new_directory  # which no Windows can load

    cluster = Cluster(new_directory(), authorization="RBAC")
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(cluster.start())
            yield Place(REAL, KubeEndpoint(cluster.url, token=cluster.token, ca_file=cluster.ca_file))
        finally:
            runner.run(cluster.stop())
            shutil.rmtree(cluster.directory)


@pytest.fixture(params=[*PLACES, REAL])
def place(request: pytest.FixtureRequest) -> Place:
    """Each place."""
    return _place(request)


@pytest.fixture(params=[HTTP.kind, REAL])
def server(request: pytest.FixtureRequest) -> Place:
    """Each place with a server."""
    return _place(request)


@pytest.fixture(scope="session")
def shell(apiserver: Place, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A person's, before the real server."""
    if not tools.path("kubectl").exists():
        pytest.skip("there is no kubectl here: run e2e/box tools")
    real = apiserver.real
    assert real is not None
    directory = tmp_path_factory.mktemp("person")
    return Shell(kubeconfig(directory, url=real.url, token=real.token, ca_file=Path(str(real.ca_file))))


@pytest.fixture
async def admission(apiserver: Place) -> AsyncIterator[Admission]:
    """The real server with the chart's policies on agents in force."""
    from contract.admission_world import admitting  # it renders the chart, when it is loaded

    assert apiserver.real is not None
    async with admitting(apiserver.real) as opened:
        yield opened


def _place(request: pytest.FixtureRequest) -> Place:
    found: Place = PLACES.get(request.param) or request.getfixturevalue("apiserver")
    return found
