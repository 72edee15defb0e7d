"""When a node's pool is written again to explain its grant: for another reason, or a time that differs enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.model.text import time_text
from azure_cni.quota import messages, nic_messages
from azure_cni.quota.node_record import NodeRecord, node_record
from fakes.cluster import FakeCluster

NOW_S = 1_800_000_000.0


def showing(**status: object) -> NodeRecord:
    """A node whose pool shows that."""
    cluster = FakeCluster()
    cluster.node("a", requested=8, number=2, nic="a-nic", **status)
    return node_record(parse(cluster.pools.objects["a"]), now_s=0.0)


def test_the_time_is_a_field_and_not_read_out_of_the_message() -> None:
    """Another build may word the message differently: its pools need not all be written again."""
    explanation = messages.while_slowed(NOW_S + 60)
    assert explanation.status()["grantNotBefore"] == time_text(NOW_S + 60)
    shown = {**explanation.status(), "grantMessage": "Azure hat um Geduld gebeten"}
    assert not messages.is_news(showing(**shown), explanation)


@pytest.mark.parametrize(("later_s", "is_news"), [(0, False), (9, False), (11, True), (-11, True)])
def test_a_storm_that_is_prolonged_by_seconds_is_not_written_again(later_s: float, *, is_news: bool) -> None:
    node = showing(**messages.while_slowed(NOW_S).status())
    assert messages.is_news(node, messages.while_slowed(NOW_S + later_s)) is is_news


def test_a_pool_that_shows_the_reason_without_a_time_is_written() -> None:
    assert messages.is_news(showing(grantReason="Throttled"), messages.while_slowed(NOW_S))


def test_the_time_goes_with_its_reason() -> None:
    assert messages.while_spent().status()["grantNotBefore"] is None
    assert messages.is_news(showing(**messages.while_slowed(NOW_S).status()), messages.while_spent())


@pytest.mark.parametrize(
    ("nic", "action"),
    [
        ("rg/vm1-nic", "Microsoft.Network/networkInterfaces/read"),
        ("rg/pool/3/nic", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces/read"),
    ],
)
def test_whoever_must_see_a_nic_is_told_the_right_that_it_takes(nic: str, action: str) -> None:
    explanation = nic_messages.on_nic_unseen(replace(showing(), nic=nic))
    assert f"for which its identity needs {action} on the NIC" in explanation.message
