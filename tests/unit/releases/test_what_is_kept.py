"""What outlives an upgrade or a rollback: the ledger, the definitions, the values (docs/releases.md)."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam.sizing import Policy
from fakes.machines import FakeMachines
from unit.chart.crds import POOLS, schema
from unit.chart.helm import template
from unit.chart.schema_check import faults
from unit.cluster.test_delegating_nodes import agent, on_nic
from unit.cluster.worlds import SimulatedCluster
from unit.releases.exchanges import HERE, RELEASES, patches
from unit.releases.record import NODE, SETTLED_S, SIZES, SLOTS

pytestmark = pytest.mark.parametrize("release", RELEASES)


def layout(ledger: Path) -> tuple[Any, ...]:
    """The schema of a ledger's file, and its number."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as file:
        return (
            file.execute("PRAGMA user_version").fetchone(),
            *file.execute("SELECT name, sql FROM sqlite_master ORDER BY name"),
        )


def test_the_ledger_of_a_release_is_opened(release: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    shutil.copy(HERE / release / "ledger.sqlite", ledger)
    with SqliteLedgerStore(ledger) as store:
        assert store.load() == SLOTS


def test_the_last_release_opens_the_ledger_after_a_rollback(release: str, tmp_path: Path) -> None:
    """It refuses one of a newer schema (docs/operations.md), and then no pod starts: see docs/releases.md."""
    if release != RELEASES[-1]:
        pytest.skip("one release back is promised")
    ledger = tmp_path / "ledger.sqlite"
    with SqliteLedgerStore(ledger):
        pass
    assert layout(ledger) == layout(HERE / release / "ledger.sqlite")


def test_agents_and_controllers_of_a_release_write_what_the_definitions_accept(release: str) -> None:
    """As in an upgrade, in which the definitions come first. What is null is removed."""
    statuses = schema(POOLS)["properties"]["status"]
    for one in patches(release):
        written = _without_nulls(one.status)
        assert list(faults(statuses, written, f"{one.by}: status")) == []


@pytest.mark.looptime
async def test_with_the_definitions_of_a_release_agent_and_controller_still_work(release: str) -> None:
    """As where definitions are installed apart from the chart: the API server drops what they do not name."""
    kinds = json.loads((HERE / release / "definitions.json").read_text())
    world, machines = SimulatedCluster(), FakeMachines(NODE)
    for store, kind in ((world.cluster.pools, "NodeIPPool"), (world.cluster.quotas, "VNetQuota")):
        store.definition = kinds[kind]["properties"]
    async with world.controller(machines=machines):
        for size in SIZES:
            async with agent(world, NODE, policy=Policy(size=size)) as stored:
                await world.until(lambda: stored.ledger.counts().free == size, within_s=SETTLED_S)  # noqa: B023
                await world.until(lambda: world.cluster.counts() == {NODE: size}, within_s=SETTLED_S)  # noqa: B023
    assert on_nic(machines, NODE) == SIZES[-1]
    known = kinds["NodeIPPool"]["properties"]["status"]["properties"]
    assert set(world.cluster.status(NODE)) <= known.keys()


def test_the_values_of_a_release_are_taken(release: str) -> None:
    """As `--reset-then-reuse-values` hands them over, all of them said by name."""
    assert "kind: DaemonSet" in template(file=(HERE / release / "values.yaml").read_text())


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nulls(child) for key, child in value.items() if child is not None}
        case list():
            return [_without_nulls(child) for child in value]
    return value
