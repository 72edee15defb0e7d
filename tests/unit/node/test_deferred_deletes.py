"""DELs that were recorded while no agent answered, and what happens when one cannot be carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.errors import DatapathError, NoAddress
from azure_cni.host.run_directory import Released
from azure_cni.ipam.address_state import Holder, Sandbox
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


def record_of(directory: Path, sandbox: Sandbox) -> Path:
    """Under the name that the binary gives it."""
    directory.mkdir(exist_ok=True)
    network, container_id, ifname = sandbox
    path = directory / Released(directory).name_of(sandbox)
    path.write_text(f'{{"containerID": "{container_id}", "ifname": "{ifname}", "config": {{"name": "{network}"}}}}')
    return path


@pytest.mark.parametrize("in_time", [False, True], ids=["the DEL was never carried out", "it was, after the record"])
async def test_a_container_started_again_is_not_taken_down_by_the_del_of_its_former_life(
    *, in_time: bool, tmp_path: Path
) -> None:
    """Podman keeps the ID of a container that it stops and starts."""
    web = Holder(Sandbox("azure-cni", "a" * 64, "eth0"), "/run/netns/netns-1", pod_name="web")
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.sandboxes.add(web)
        path = record_of(tmp_path, web.sandbox)
        if in_time:
            await node.sandboxes.delete(web.sandbox)
        deferred_deletes = DeferredDeletes(records=Released(tmp_path), sandboxes=node.sandboxes)
        again = replace(web, netns="/run/netns/netns-2")
        await deferred_deletes.finish_former_life(again)
        assert (node.counts.assigned, path.exists()) == (0, False)
        await node.sandboxes.add(again)
        await deferred_deletes.carry_out_all()
        assert node.counts.assigned == 1
        assert node.datapath.wired[node.datapath.key(web.sandbox)].netns == again.netns


async def test_a_look_that_began_before_the_add_leaves_the_new_life_alone(tmp_path: Path) -> None:
    """It has read the record, and takes its time over another one; then it comes to this one."""
    async with SimulatedNode(in_cluster=False).running() as node:
        slow, web = (Holder(Sandbox("azure-cni", one * 64, "eth0"), f"/run/netns/{one}") for one in "ab")
        for holder in (slow, web):
            await node.sandboxes.add(holder)
            record_of(tmp_path, holder.sandbox)
        slow_first = Released(tmp_path)
        names = sorted(slow_first.names(), key=lambda name: name != slow_first.name_of(slow.sandbox))
        slow_first.names = lambda: tuple(names)  # type: ignore[method-assign]
        really, begun, goes_on = node.datapath.detach, asyncio.Event(), asyncio.Event()

        async def detach(sandbox: Sandbox) -> None:
            if sandbox == slow.sandbox:
                begun.set()
                await goes_on.wait()
            await really(sandbox)

        node.datapath.detach = detach  # type: ignore[method-assign]
        deferred_deletes = DeferredDeletes(records=slow_first, sandboxes=node.sandboxes)
        look = asyncio.create_task(deferred_deletes.carry_out_all())
        await begun.wait()
        await deferred_deletes.finish_former_life(web)
        await node.sandboxes.add(web)
        goes_on.set()
        await look
        assert [slot.holder for slot in node.stored.ledger.slots if slot.holder is not None] == [web]
        assert not any(map(slow_first.has, names))


async def test_an_add_that_meets_the_look_at_its_own_record_comes_after_it(tmp_path: Path) -> None:
    async with SimulatedNode(in_cluster=False).running() as node:
        web = Holder(Sandbox("azure-cni", "a" * 64, "eth0"), "/run/netns/a")
        await node.sandboxes.add(web)
        record_of(tmp_path, web.sandbox)
        really, begun, goes_on = node.datapath.detach, asyncio.Event(), asyncio.Event()

        async def detach(sandbox: Sandbox) -> None:
            begun.set()
            await goes_on.wait()
            await really(sandbox)

        node.datapath.detach = detach  # type: ignore[method-assign]
        deferred_deletes = DeferredDeletes(records=Released(tmp_path), sandboxes=node.sandboxes)

        async def start() -> None:
            await deferred_deletes.finish_former_life(web)
            await node.sandboxes.add(web)

        look = asyncio.create_task(deferred_deletes.carry_out_all())
        await begun.wait()
        starting = asyncio.create_task(start())
        looks = [asyncio.create_task(deferred_deletes.carry_out_all()) for _ in range(2)]
        await asyncio.sleep(1)
        goes_on.set()
        await asyncio.gather(look, starting, *looks)
        assert node.counts.assigned == 1


async def test_a_record_that_cannot_be_carried_out_holds_up_its_own_container_alone(tmp_path: Path) -> None:
    async with SimulatedNode(in_cluster=False).running() as node:
        stuck, other = (Holder(Sandbox("azure-cni", one * 64, "eth0"), f"/run/netns/{one}") for one in "ab")
        await node.sandboxes.add(stuck)
        path = record_of(tmp_path, stuck.sandbox)
        really = node.datapath.detach

        async def detach(sandbox: Sandbox) -> None:
            raise DatapathError(f"cannot set {sandbox.container_id[:3]} down: Device or resource busy")

        node.datapath.detach = detach  # type: ignore[method-assign]
        deferred_deletes = DeferredDeletes(records=Released(tmp_path), sandboxes=node.sandboxes)
        await deferred_deletes.finish_former_life(other)
        with pytest.raises(NoAddress, match=f"{path.name}, cannot be carried out yet: .* busy; start it"):
            await deferred_deletes.finish_former_life(stuck)
        node.datapath.detach = really  # type: ignore[method-assign]
        await deferred_deletes.finish_former_life(stuck)
        assert not path.exists()


async def test_a_record_that_cannot_be_understood_is_put_aside_and_holds_up_nobody(tmp_path: Path) -> None:
    web = Holder(Sandbox("azure-cni", "a" * 64, "eth0"), "/run/netns/a")
    path = record_of(tmp_path, web.sandbox)
    path.write_text("{")
    node = SimulatedNode(in_cluster=False)
    await DeferredDeletes(records=Released(tmp_path), sandboxes=node.sandboxes).finish_former_life(web)
    assert (tmp_path / "bad" / path.name).exists()


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
