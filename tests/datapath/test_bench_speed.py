"""The nodes and the traffic that `make bench ARGS=speed` measures with are what they should be."""

from __future__ import annotations

import re

import pytest

from azure_cni.model.identity import ModeName
from bench.network import Pair
from bench.speed import KINDS, _measured, served
from datapath.namespaces import NEEDS_ROOT, Namespaces

pytestmark = NEEDS_ROOT


@pytest.mark.parametrize("mode", list(ModeName))
async def test_all_that_is_measured_arrives_and_no_guard_stops_any_of_it(
    namespaces: Namespaces, mode: ModeName
) -> None:
    pair = Pair(namespaces)
    await pair.wire(mode)
    ways = [pair.host_to_host(), *pair.pod_to_pod().values()]
    with served(ways):
        found = [value for way in ways for kind in KINDS for value in _measured(way, kind, 0.05).values()]
    assert len(found) == 4 * len(ways)
    assert min(found) > 0
    for node in pair.nodes:
        counted = re.findall(r"counter packets (\d+)", node.run("nft", "list", "ruleset"))
        assert counted
        assert set(counted) == {"0"}
