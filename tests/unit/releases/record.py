"""Writes down what a release says and keeps, for the tests of later releases.

To be run once with each release, on its own sources (docs/releases.md):

    PYTHONPATH=operator:tests:e2e .venv/bin/python -m unit.releases.record tests/unit/releases/RELEASE

- `patches.jsonl`: a node whose NIC the controller writes gets its first addresses, more of them, and fewer. Each line
  is a patch of its NodeIPPool's status, with who made it.
- `requests`, `replies`: what plugin and agent say to each other.
- `definitions.json`: the schema of each kind, without words. `values.yaml`: the chart's.
- `ledger.sqlite`: a ledger with SLOTS.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import looptime
import yaml

import azure_cni
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam.ledger import Change, Holder, LinkParameters, Sandbox, Slot, State
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import ConfigName
from fakes.machines import FakeMachines
from unit.cluster.test_delegating_nodes import agent
from unit.cluster.worlds import SimulatedCluster

SOURCES = Path(azure_cni.__file__).parents[2]
NODE = "vm1"
SIZES = (16, 40, 16)
SETTLED_S = 900.0
OF_CONTROLLERS = frozenset({"nicOperationResult", "granted", "grantedFor", "grantReason", "grantMessage", "recall"})
SLOTS = (
    Slot(
        IPv4Address("10.240.1.1"),
        ConfigName("azure-cni-00000001"),
        State.ASSIGNED,
        1000.5,
        Holder(Sandbox("azure-cni", "4f1c9a2b", "eth0"), "/var/run/netns/cni-6a1f0c2e", "default", "web-0", "0d9c1f7e"),
        link=LinkParameters(1500, IPv4Address("10.240.0.4")),
        own_egress=True,
    ),
    Slot(IPv4Address("10.240.1.2"), ConfigName("azure-cni-00000002"), State.FREE, 1001.0, excluded=True),
    Slot(IPv4Address("10.240.1.3"), ConfigName("azure-cni-00000003"), State.COOLING, 1002.0),
)


def author(patch: Mapping[str, Any]) -> str:
    """Who writes such a patch of a status."""
    return "controller" if OF_CONTROLLERS & patch.keys() else "agent"


async def exchange(say: Callable[[str], None]) -> None:
    """Live through the life of the node; `say` gets each line."""
    world, machines = SimulatedCluster(), FakeMachines(NODE)
    patch_pool = world.cluster.pools.patch

    def patched(name: str, patch: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        after = patch_pool(name, patch, **options)
        if status := patch.get("status"):
            say(json.dumps({"by": author(status), "status": status}, sort_keys=True))
        return after

    world.cluster.pools.patch = patched  # type: ignore[method-assign]
    async with world.controller(machines=machines):
        for size in SIZES:
            async with agent(world, NODE, policy=Policy(size=size)) as stored:
                await world.until(lambda: stored.ledger.counts().free == size, within_s=SETTLED_S)  # noqa: B023
                await asyncio.sleep(60)


def definitions() -> dict[str, Any]:
    """The schema of each kind."""
    files = sorted((SOURCES / "charts" / "azure-cni" / "files" / "crds").glob("*.yaml"))
    return {
        definition["spec"]["names"]["kind"]: _without_words(
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        )
        for definition in (yaml.safe_load(file.read_text()) for file in files)
    }


def _without_words(value: Any) -> Any:
    match value:
        case dict():
            words = "description" if isinstance(value.get("description"), str) else None
            return {key: _without_words(child) for key, child in value.items() if key != words}
        case list():
            return [_without_words(child) for child in value]
    return value


def record(directory: Path) -> None:
    """Write all of it into a new directory."""
    directory.mkdir(parents=True)
    testdata = SOURCES / "operator" / "cni-plugin" / "testdata"
    for part in ("requests", "replies"):
        shutil.copytree(testdata / part, directory / part)
    shutil.copy(SOURCES / "charts" / "azure-cni" / "values.yaml", directory)
    (directory / "definitions.json").write_text(json.dumps(definitions(), indent=1, sort_keys=True) + "\n")
    with SqliteLedgerStore(directory / "ledger.sqlite") as store:
        store.save(Change(put=SLOTS))
    lines = list[str]()
    looptime.new_event_loop().run_until_complete(exchange(lines.append))
    (directory / "patches.jsonl").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
