"""What others leave on a node, or send to it: requests, records of releases, trails, state, and what Docker lists."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest

from azure_cni.cni import wire
from azure_cni.cni.conflist import delegates
from azure_cni.cni.systems import WINDOWS
from azure_cni.docker.docker_networks import DockerNetworks
from azure_cni.docker.engine_view import ContainerList, read_containers, read_networks, read_places, viewed
from azure_cni.docker.standalone_pool import StandalonePool
from azure_cni.errors import AzureCniError
from azure_cni.host.audit_lines import AddressReading, records_of
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.run_directory import Released
from property.odd_bytes import Boundary, walk

REPOSITORY: Final = Path(__file__).parents[2]
REQUESTS: Final = sorted((REPOSITORY / "operator" / "cni-plugin" / "testdata" / "requests").glob("*.json"))
LEDGERS: Final = sorted((REPOSITORY / "tests" / "unit" / "host" / "ledgers").glob("*.sqlite"))
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
ADDRESS: Final = "10.240.0.36"
TRAIL: Final = (
    b'{"time":"2026-11-29T12:00:00Z","event":"assigned","address":"10.240.0.36","namespace":"default","pod":"web"}\n'
    b'{"time":"2026-11-29T12:00:01Z","event":"lost","not_before":"2026-11-29T11:00:00Z","lost":3}\n'
    b'{"time":"2026-11-29T12:00:02Z","event":"released","address":"10.240.0.36","namespace":"default","pod":"web"}\n'
)
CONTAINERS: Final = [
    {"Id": "c1", "Names": ["/web", "/other/web"], "NetworkSettings": {"Networks": {"net": {"EndpointID": "e1"}}}},
    {"Id": "c2", "Names": ["/db"], "NetworkSettings": {"Networks": {}}},
]
NETWORKS: Final = [{"Id": "n1", "Name": "net", "Driver": "azure-cni"}, {"Id": "n2", "Name": "two"}]
INSIDE: Final = {"Id": "n1", "Name": "net", "Containers": {"c1": {"EndpointID": "e1", "Name": "web"}}}
POOL: Final = {
    "metadata": {"name": "vm", "uid": "u", "resourceVersion": "7"},
    "spec": {"minFree": 8},
    "status": {"requested": 16, "requestID": 12, "granted": 16, "grantedFor": 12, "allocated": 16, "conditions": []},
}


ON_WINDOWS: Final = {
    "containerID": "c1",
    "netns": "f2a8b6d0-1c3e-4d5f-8a9b-0c1d2e3f4a5b",
    "ifname": "eth0",
    "args": {"K8S_POD_NAME": "web", "K8S_POD_NAMESPACE": "default", "K8S_POD_UID": "u"},
    "config": {
        "cniVersion": "1.0.0",
        "name": "azure-cni",
        "type": "azure-cni",
        "dns": {"nameservers": ["10.96.0.10"], "search": ["svc.cluster.local"]},
        "runtimeConfig": {
            "dns": {"servers": ["10.96.0.10"], "searches": ["default.svc.cluster.local"], "options": ["ndots:5"]},
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
        },
    },
}


MULTUS_THICK: Final = {"cniVersion": "0.3.1", "type": "multus-shim", "clusterNetwork": "/etc/cni/10-azure-cni.conflist"}
MULTUS_THIN: Final = {
    "name": "multus-cni-network",
    "type": "multus",
    "delegates": [{"name": "azure-cni", "plugins": [{"type": "azure-cni", "socket": "/run/azure-cni/cni.sock"}]}],
}
OTHER: Final = {"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "ptp"}, {"type": "portmap"}]}


class Kept:
    """A state file with this content."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def name(self) -> str:
        return "kept"

    def read(self) -> bytes | None:
        return self._content

    def write(self, content: bytes) -> None:
        self._content = content


def cni_request(content: bytes, random: Random) -> None:
    """Read as any verb; a refusal has a version that the runtime can read."""
    assert wire.version_of(content) in {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}
    try:
        wire.decode(random.choice(wire.VERBS), content)
    except AzureCniError as error:
        status, body = wire.error_body(error, wire.version_of(content))
        assert status >= 400
        assert body["code"]
        json.dumps(body)
        raise


def windows_request(content: bytes, _: Random) -> None:
    wire.decode("add", content, system=WINDOWS)


def release(content: bytes, _: Random, *, directory: Path) -> None:
    """The binary's record: what is wrong is moved aside, and nothing is there twice."""
    path = directory / "00.json"
    path.write_bytes(content)
    found = Released(directory).read(["00.json"])
    assert len(found.pending) + len(found.bad) == 1
    assert path.exists() == bool(found.pending)


def trail(content: bytes, _: Random, *, directory: Path) -> None:
    """Each line is a record, or part of a hole."""
    path = directory / "trail"
    path.write_bytes(content)
    list(records_of(path))
    reading = AddressReading(ADDRESS, ADDRESS)
    reading.read(content.splitlines(keepends=True))
    reading.finish("2026-11-29T13:00:00Z")


def ledger(content: bytes, _: Random, *, directory: Path) -> None:
    """It is read, migrated, set aside or refused in words."""
    path = directory / "ledger.sqlite"
    for old in directory.glob("ledger.sqlite*"):
        old.unlink()
    path.write_bytes(content)
    with SqliteLedgerStore(path, wait_s=0.0) as store:
        store.load()


def engine(content: bytes, random: Random) -> None:
    """Docker's three lists."""
    places = [read_places(content, "n1")] if b'"Containers"' in content else []
    containers = read_containers(content) if not places and random.random() < 0.5 else ContainerList({}, {})
    networks = {} if places or containers.names else read_networks(content)
    viewed(containers, networks, places)


def networks_file(content: bytes, _: Random) -> None:
    DockerNetworks(Kept(content)).remove("n1")


def pool_file(content: bytes, _: Random) -> None:
    StandalonePool(Kept(content)).grant({"granted": 16})


def other_configuration(content: bytes, _: Random) -> None:
    assert delegates(content, conf_name="10-azure-cni.conflist") in {True, False, None}


def encoded(*documents: object) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def boundaries(directory: Path) -> dict[str, Boundary]:
    """By name; files are made in the directory."""
    return {
        "cni-requests": Boundary([path.read_bytes() for path in REQUESTS], cni_request),
        "windows-requests": Boundary(encoded(ON_WINDOWS), windows_request),
        "releases": Boundary(
            [path.read_bytes() for path in REQUESTS if path.name.startswith("del-")],
            partial(release, directory=directory),
        ),
        "audit-trail": Boundary([TRAIL], partial(trail, directory=directory), is_json=False),
        "ledger": Boundary(
            [path.read_bytes() for path in LEDGERS], partial(ledger, directory=directory), is_json=False
        ),
        "other-configurations": Boundary(encoded(MULTUS_THICK, MULTUS_THIN, OTHER), other_configuration),
        "docker-engine": Boundary(encoded(CONTAINERS, NETWORKS, INSIDE), engine),
        "docker-networks-file": Boundary(
            encoded({"networks": {"n1": "0.0.0.0/0", "n2": "10.0.0.0/16"}}), networks_file
        ),
        "docker-pool-file": Boundary(encoded(POOL), pool_file),
    }


NAMES: Final = tuple(boundaries(Path()))
SLOW: Final = {"ledger": 400, "releases": 1500, "audit-trail": 2000, "docker-pool-file": 2500}
"""How many are tried of what is written to a file first; of the others 6000."""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_odd_is_read_or_refused_in_words(name: str) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        count = SLOW.get(name, 6000)
        ends = walk(name, boundaries(Path(directory))[name], count, seed=1)
    assert ends.total() == count
    assert ends["read"] > count / 50, ends
