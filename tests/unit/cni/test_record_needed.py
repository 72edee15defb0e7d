"""Which DELs the binary records while no agent answers, by the ledger that an agent really wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam.ledger import Change, Holder, Sandbox, Slot, State
from unit.ipam.views import address, config

SOURCE = Path(__file__).parents[3] / "operator" / "cni-plugin"
POD = "4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1"
OTHER = "0e5b1d4c3a2f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e0d9c8b7a6f5e4d"
PODS = 250

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="needs Go to build the binary")


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("binary") / "azure-cni"
    environment = os.environ | {"CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", path, "."], cwd=SOURCE, check=True, env=environment)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteLedgerStore]:
    """A full node: POD is the last of 250 that hold an address."""
    with SqliteLedgerStore(tmp_path / "ledger.sqlite") as store:
        names = [f"{n:064x}" for n in range(PODS - 1)] + [POD]
        store.save(Change(put=tuple(assigned(n, name) for n, name in enumerate(names))))
        yield store


def assigned(number: int, container_id: str) -> Slot:
    holder = Holder(
        Sandbox("azure-cni", container_id, "eth0"),
        f"/var/run/netns/cni-{number}",
        "n" * 63,
        f"{'p' * 253}",
        "0d9c1f7e-5b2a-4c83-9e64",
    )
    return Slot(address(number), config(number).name, State.ASSIGNED, 1.0, holder)


def records_of(binary: Path, run_dir: Path, container_id: str) -> int:
    done = subprocess.run(
        [binary],
        env={"CNI_COMMAND": "DEL", "CNI_CONTAINERID": container_id, "CNI_IFNAME": "eth0"},
        input=f'{{"cniVersion": "1.1.0", "name": "n", "type": "azure-cni", "socket": "{run_dir}/cni.sock"}}',
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    return len(list((run_dir / "released").glob("*.json")))


def test_what_holds_an_address_is_recorded_and_what_never_did_is_not(
    binary: Path, store: SqliteLedgerStore, tmp_path: Path
) -> None:
    store.close()
    assert records_of(binary, tmp_path, OTHER) == 0
    for number, name in enumerate((POD, f"{0:064x}", f"{PODS // 2:064x}"), start=1):
        assert records_of(binary, tmp_path, name) == number


def test_while_an_agent_holds_the_ledger_everything_is_recorded(
    binary: Path, store: SqliteLedgerStore, tmp_path: Path
) -> None:
    assert store.load()
    assert records_of(binary, tmp_path, OTHER) == 1
