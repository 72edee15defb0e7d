"""DELs that were recorded while no agent answered, and what happens when one cannot be carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from azure_cni.errors import DatapathError
from azure_cni.host.run_directory import Released
from azure_cni.ipam.address_state import Sandbox
from azure_cni.node.pods.deferred_deletes import LOGGED, PORTION, DeferredDeletes
from azure_cni.node.recorded_deletes import Records
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime


def record(directory: Path, name: str) -> Path:
    """As the binary writes it."""
    network, container_id, ifname = holder(name).sandbox
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(f'{{"containerID": "{container_id}", "ifname": "{ifname}", "config": {{"name": "{network}"}}}}')
    return path


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.__dict__["why"] for one in caplog.records if one.levelno >= logging.ERROR]


async def test_a_record_is_carried_out_and_forgotten(tmp_path: Path) -> None:
    async with SimulatedNode().running() as node:
        await node.add("p")
        path = record(tmp_path / "released", "p")
        await DeferredDeletes(records=Released(path.parent), sandboxes=node.sandboxes).carry_out_all()
        assert node.counts.assigned == 0
        assert not path.exists()


async def test_a_record_that_fails_is_reported_once_tried_again_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SimulatedNode().running() as node:
        await node.add("a")
        stuck = holder("a").sandbox
        await node.add("b")
        paths = [record(tmp_path / "released", name) for name in ("a", "b")]
        really = node.datapath.detach

        async def detach(sandbox: Sandbox) -> None:
            if sandbox == stuck:
                raise DatapathError(f"cannot set {sandbox.container_id} down: Device or resource busy")
            await really(sandbox)

        node.datapath.detach = detach  # type: ignore[method-assign]
        deferred_deletes = DeferredDeletes(records=Released(tmp_path / "released"), sandboxes=node.sandboxes)
        for _ in range(3):
            await deferred_deletes.carry_out_all()
        assert [path.exists() for path in paths] == [True, False]
        assert reported(caplog) == [f"a.json: cannot set {stuck.container_id} down: Device or resource busy"]
        stuck = ""
        await deferred_deletes.carry_out_all()
        assert not paths[0].exists()
        assert node.counts.assigned == 0


@pytest.mark.parametrize("broken", ["bad is a file", "released is a file", "bad holds a directory of that name"])
async def test_nothing_in_the_directory_ends_the_agents_start(
    broken: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    released = tmp_path / "released"
    if broken == "released is a file":
        released.touch()
    else:
        record(released, "p").write_text("{")
        (released / "bad").touch() if broken == "bad is a file" else (released / "bad" / "p.json" / "x").mkdir(
            parents=True
        )
    deferred_deletes = DeferredDeletes(records=Released(released), sandboxes=SimulatedNode().sandboxes)
    for _ in range(3):
        await deferred_deletes.carry_out_all()
    assert len(reported(caplog)) == 1


class Counting(Released):
    """How many records each read was asked for."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asked: list[int] = []

    def read(self, names: Sequence[str]) -> Records:
        self.asked.append(len(names))
        return super().read(names)


async def test_many_records_are_carried_out_in_portions_and_the_start_waits_for_one(tmp_path: Path) -> None:
    async with SimulatedNode().running() as node:
        for number in range(3 * PORTION + 1):
            record(tmp_path / "released", f"p{number:04}")
        records = Counting(tmp_path / "released")
        deferred_deletes = DeferredDeletes(records=records, sandboxes=node.sandboxes)
        await deferred_deletes.carry_out_some()
        assert records.asked == [PORTION]
        assert len(records.names()) == 2 * PORTION + 1
        others = 0

        async def other_work() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(other_work())
        await deferred_deletes.carry_out_all()
        other.cancel()
        assert records.asked == [PORTION, PORTION, PORTION, 1]
        assert records.names() == ()
        assert others >= 3


async def test_many_that_fail_are_not_a_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3 * LOGGED):
        record(tmp_path / "released", f"p{number:04}").write_text("{")
    async with SimulatedNode().running() as node:
        await DeferredDeletes(records=Released(tmp_path / "released"), sandboxes=node.sandboxes).carry_out_all()
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) == LOGGED + 1
