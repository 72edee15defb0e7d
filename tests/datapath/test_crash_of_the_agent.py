"""The agent's process, killed by SIGKILL at its effects: at its start, in an ADD and in a DEL, on a real kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from azure_cni.model.identity import ModeName
from datapath.crash_node import AgentGone, CrashNode
from datapath.effects import NEEDS_SECCOMP
from datapath.namespaces import Namespaces

pytestmark = [NEEDS_SECCOMP, pytest.mark.root]

KILLS: Final = 2
"""Of each verb, without `--every-crash` (`make crash`), spread over its steps."""


@pytest.fixture(params=list(ModeName))
def node(request: pytest.FixtureRequest, namespaces: Namespaces, tmp_path: Path) -> Iterator[CrashNode]:
    made = CrashNode(namespaces, tmp_path, request.param)
    made.start()
    made.ready()
    yield made
    made.close()


def points_of(steps: list[str], config: pytest.Config) -> list[int]:
    if config.getoption("--every-crash"):
        return list(range(len(steps)))
    return sorted({(2 * number + 1) * len(steps) // (2 * KILLS) for number in range(KILLS)})


def killed_in(node: CrashNode, verb: Callable[[], object], point: int) -> str:
    """Where it was killed; "" when there was no such step this time."""
    assert node.agent is not None
    node.agent.arm(point)
    try:
        verb()
    except AgentGone:
        node.agent.kill()
    else:
        node.agent.disarm()
    died_at = node.agent.killed_at
    if died_at:
        node.agent.kill()
        node.start()
        node.ready()
    return died_at


def test_in_an_add_and_in_a_del(node: CrashNode, pytestconfig: pytest.Config) -> None:
    assert node.agent is not None
    node.agent.arm(None)
    node.cni("add")
    of_add = node.agent.disarm()
    node.agent.arm(None)
    node.cni("del")
    of_del = node.agent.disarm()
    killed: list[str] = []
    for point in points_of(of_add, pytestconfig):
        killed.append(killed_in(node, lambda: node.cni("add"), point))
        result = node.cni("add")
        assert node.cni("add") == result
        node.cni("check", prevResult=result)
        address = result["ips"][0]["address"].partition("/")[0]
        node.require_whole(pods={"c1": address})
        node.start()
        node.ready()
        node.cni("del")
    for point in points_of(of_del, pytestconfig):
        node.cni("add")
        killed.append(killed_in(node, lambda: node.cni("del"), point))
        node.cni("del")
        node.require_whole(pods={})
        node.start()
        node.ready()
    print(f"ADD and DEL, {node.mode}: {len(of_add)} and {len(of_del)} steps, kills: {', '.join(filter(None, killed))}")


def test_in_its_start(node: CrashNode, pytestconfig: pytest.Config) -> None:
    result = node.cni("add")
    node.kill()
    node.start(burns_at=1_000_000)
    node.ready()
    assert node.agent is not None
    steps = node.agent.disarm()
    killed: list[str] = []
    for point in points_of(steps, pytestconfig):
        node.kill()
        node.start(burns_at=point)
        try:  # what it does at its start goes on after it answers
            node.ready()
            node.cni("add")
            node.agent.disarm()
        except AgentGone:
            killed.append(node.agent.killed_at)
            node.kill()
            node.start()
            node.ready()
        assert node.cni("add") == result, "the pod has another address"
    node.require_whole(pods={"c1": result["ips"][0]["address"].partition("/")[0]})
    print(f"start, {node.mode}: {len(steps)} steps, {len(killed)} kills: {', '.join(killed)}")
