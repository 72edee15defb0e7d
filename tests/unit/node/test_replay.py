"""DELs that were recorded while no agent answered, and what happens when one cannot be carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from azure_cni.errors import DatapathError
from azure_cni.host.released import Released
from azure_cni.node.ports import Records
from azure_cni.node.replay import LOGGED, PORTION, Replay
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime


def record(directory: Path, name: str) -> Path:
    """As the binary writes it."""
    container_id, ifname = holder(name).sandbox
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(f'{{"containerID": "{container_id}", "ifname": "{ifname}", "config": {{}}}}')
    return path


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.__dict__["why"] for one in caplog.records if one.levelno >= logging.ERROR]


async def test_a_record_is_carried_out_and_forgotten(tmp_path: Path) -> None:
    async with SimulatedNode().running() as node:
        await node.add("p")
        path = record(tmp_path / "released", "p")
        await Replay(records=Released(path.parent), sandboxes=node.sandboxes).once()
        assert node.counts.assigned == 0
        assert not path.exists()


async def test_a_record_that_fails_is_told_once_tried_again_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SimulatedNode().running() as node:
        stuck = (await node.add("a")).links.host_ifname
        await node.add("b")
        paths = [record(tmp_path / "released", name) for name in ("a", "b")]
        cut_off = node.datapath.detach

        async def detach(host_ifname: str, addresses: Collection[str]) -> None:
            if host_ifname == stuck:
                raise DatapathError(f"cannot set {host_ifname} down: Device or resource busy")
            await cut_off(host_ifname, addresses)

        node.datapath.detach = detach  # type: ignore[method-assign]
        replay = Replay(records=Released(tmp_path / "released"), sandboxes=node.sandboxes)
        for _ in range(3):
            await replay.once()
        assert [path.exists() for path in paths] == [True, False]
        assert told(caplog) == [f"a.json: cannot set {stuck} down: Device or resource busy"]
        stuck = ""
        await replay.once()
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
    replay = Replay(records=Released(released), sandboxes=SimulatedNode().sandboxes)
    for _ in range(3):
        await replay.once()
    assert len(told(caplog)) == 1


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
        replay = Replay(records=records, sandboxes=node.sandboxes)
        await replay.first()
        assert records.asked == [PORTION]
        assert len(records.names()) == 2 * PORTION + 1
        others = 0

        async def other_work() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(other_work())
        await replay.once()
        other.cancel()
        assert records.asked == [PORTION, PORTION, PORTION, 1]
        assert records.names() == ()
        assert others >= 3


async def test_many_that_fail_are_not_a_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3 * LOGGED):
        record(tmp_path / "released", f"p{number:04}").write_text("{")
    async with SimulatedNode().running() as node:
        await Replay(records=Released(tmp_path / "released"), sandboxes=node.sandboxes).once()
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) == LOGGED + 1
