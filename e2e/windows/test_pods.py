"""Pods come and go: a runtime calls azure-cni.exe, which asks the agent by the pipe, which asks HNS."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from windows.node import Outcome
from windows.world import World

PODS, AT_ONCE = 40, 8
AGAIN, INTERNAL = 11, 999
"""The CNI specification's numbers for "try again later", and the plugin's for what it cannot say better."""


@pytest.fixture(autouse=True)
def no_pod_outlives_its_test(world: World) -> Iterator[None]:
    yield
    world.delete_all()


def test_a_pod_gets_an_address_which_is_checked_and_given_back(world: World) -> None:
    first = world.add("p1")
    assert (first.status, world.wired) == (0, {first.address}), first
    assert first.said["interfaces"][0]["mac"].startswith("00:15:5d:")
    assert world.add("p1").said == first.said, "a repeat"
    assert world.check("p1", first).status == 0
    assert world.node.plugin("STATUS", cniVersion="1.1.0").status == 0
    assert world.node.plugin("VERSION").said["supportedVersions"][-1] == "1.1.0"
    world.await_counts(assigned=1)

    (endpoint,) = world.hns.endpoints()
    world.hns.forget("Endpoint", endpoint["ID"])
    broken = world.check("p1", first)
    assert broken.status != 0
    assert "is missing" in broken.said["msg"] + broken.said.get("details", "")

    assert [world.delete("p1").status for _ in range(2)] == [0, 0]
    assert world.wired == set()
    world.await_counts(assigned=0)


def test_an_add_without_a_namespace_says_so_and_leaves_nothing(world: World) -> None:
    refused = world.node.plugin("ADD", "p1", "12345678-1234-1234-1234-123456789abc")
    assert refused.status != 0
    assert "12345678-1234-1234-1234-123456789abc" in refused.said["msg"] + refused.said.get("details", "")
    assert world.hns.endpoints() == []
    world.await_counts(assigned=0)


def test_rounds_of_pods_leave_equal_counts(world: World, figures: list[str], request: pytest.FixtureRequest) -> None:
    rounds = request.config.getoption("--rounds")
    names = [f"p{number}" for number in range(PODS)]
    adds: list[Outcome] = []
    again: list[str] = []

    def insist(name: str) -> Outcome:
        """As the kubelet does, where the machine is too busy for an answer in time."""
        done = world.add(name)
        while done.status and done.code == AGAIN and len(again) < rounds:
            again.append(name)
            done = world.add(name)
        return done

    deletes: list[Outcome] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(rounds):
            adds += (added := list(pool.map(insist, names)))
            assert {one.status for one in added} == {0}, [one for one in added if one.status]
            assert world.wired == {one.address for one in added}
            assert len(world.wired) == PODS
            world.await_counts(assigned=PODS)
            deletes += (deleted := list(pool.map(world.delete, names)))
            assert {one.status for one in deleted} == {0}, [one for one in deleted if one.status]
            assert (world.wired, world.hns.endpoints()) == (set(), [])
            world.await_counts(assigned=0)
    figures.append(
        f"{rounds} rounds of {PODS} pods, {AT_ONCE} calls at once: {_times('ADD', adds)}, {_times('DEL', deletes)}, "
        f"{len(again)} ADDs tried again"
    )


def test_one_pod_after_the_other(world: World, figures: list[str]) -> None:
    adds = [world.add(f"s{number}") for number in range(20)]
    deletes = [world.delete(f"s{number}") for number in range(20)]
    assert {one.status for one in (*adds, *deletes)} == {0}
    figures.append(f"20 pods one after the other: {_times('ADD', adds)}, {_times('DEL', deletes)}")


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_service_that_does_not_run_is_named_and_afterwards_all_is_well(world: World, verb: str) -> None:
    held = world.add("held")
    assert held.status == 0
    world.service.stop()
    try:
        away = world.add("p1") if verb == "ADD" else world.delete("held")
    finally:
        world.service.start()
    assert away.status != 0
    said = away.said["msg"] + away.said.get("details", "")
    assert "RPC_S_" in said
    assert "Get-Service hns" in said
    if verb == "ADD":
        assert world.add("p1").status == 0
        assert world.delete("p1").status == 0
    assert world.delete("held").status == 0
    assert world.hns.endpoints() == []
    world.await_counts(assigned=0)


def _times(verb: str, calls: list[Outcome]) -> str:
    times = sorted(one.took_s * 1000 for one in calls)
    return f"{verb} p50 {statistics.median(times):.0f} ms, max {times[-1]:.0f} ms"
