"""What Prometheus sees of a quota whose VNet is read, or cannot be read, while the controller works."""

from __future__ import annotations

import pytest

from azure_cni.cluster.leader import Leader
from azure_cni.entrypoints.controller_metrics import ControllerMetrics
from azure_cni.errors import AccessDenied
from azure_cni.model.text import seconds_of
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

READ = "azure_cni_quota_usage_read_timestamp_seconds"


def value(leader: Leader, name: str, **labels: str) -> float | None:
    metrics = ControllerMetrics()
    metrics.watch_quotas(leads=lambda: True, leader=lambda: leader)
    return metrics.registry.get_sample_value(name, labels)


async def test_a_quota_is_scraped_as_its_leader_knows_it() -> None:
    world = SimulatedCluster(usages_s=30)
    world.vnets.others = 3
    world.node("a", want=16, waiting=16)
    async with world.agents(), world.controller() as leader:
        await world.until(lambda: world.held() == {"a": 16})
        assert value(leader, "azure_cni_quota_addresses", quota="vnet", what="granted") == 16
        assert value(leader, "azure_cni_quota_addresses", quota="vnet", what="outside") == 3
        assert value(leader, "azure_cni_quota_ready", quota="vnet") == 1
        assert value(leader, READ, quota="vnet") == seconds_of(world.status()["azure"]["readTime"])


async def test_a_use_that_was_never_read_is_as_old_as_can_be() -> None:
    world = SimulatedCluster(usages_s=30)
    world.vnets.fail = AccessDenied("cannot read usages of VNet vnet")
    world.node("a", want=16, waiting=16)
    async with world.agents(), world.controller() as leader:
        await world.until(lambda: world.held() == {"a": 16})
        assert value(leader, READ, quota="vnet") == 0
