"""What others on the host do is reported once, where people look, and stands there until it ends."""

from __future__ import annotations

import logging

import pytest

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.conntrack import LASTS_S, ConntrackUsage
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

RULES = ConflictReason.FOREIGN_POLICY_RULES
MESSAGE = "nm-cloud-setup diverts pods: systemctl disable --now nm-cloud-setup.timer"
PASS_S = 65.0


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    records = [record for record in caplog.records if record.message.startswith("host conflict")]
    return [(record.message, getattr(record, "what", "")) for record in records]


def events(node: SimulatedNode) -> list[str]:
    return [event.message for event in node.events.published if event.reason == RULES]


async def test_a_conflict_is_a_condition_and_leaves_the_pool_ready():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("allocated") == 16)
        assert node.condition("HostConflict")["status"] == "False"
        assert node.condition("HostConflict")["reason"] == "NoConflict"
        node.datapath.conflicts = (Conflict(RULES, MESSAGE),)
        await node.until(lambda: node.condition("HostConflict")["status"] == "True", within_s=PASS_S)
        reported = node.condition("HostConflict")
        assert (reported["reason"], reported["message"]) == ("ForeignPolicyRules", MESSAGE)
        assert node.condition("Ready")["status"] == "True"
        node.datapath.conflicts = ()
        await node.until(lambda: node.condition("HostConflict")["status"] == "False", within_s=PASS_S)


async def test_connections_that_the_kernel_has_no_room_for_are_a_conflict_until_they_have_been_over_for_a_while():
    async with SimulatedNode().running() as node:
        node.datapath.conntrack = ConntrackUsage(entries=65536, limit=65536, dropped=3)
        await node.until(lambda: node.state.conntrack is not None, within_s=PASS_S)
        await node.until(lambda: node.status.get("allocated") == 16)
        assert node.condition("HostConflict")["status"] == "False", "nobody knows when these were dropped"
        node.datapath.conntrack = ConntrackUsage(entries=65536, limit=65536, dropped=9)
        await node.until(lambda: node.condition("HostConflict")["reason"] == "ConntrackFull", within_s=PASS_S)
        assert "nf_conntrack_max=131072" in node.condition("HostConflict")["message"]
        assert node.condition("Ready")["status"] == "True"
        await node.until(lambda: node.condition("HostConflict")["status"] == "False", within_s=LASTS_S + PASS_S)


async def test_a_conflict_is_logged_when_it_begins_changes_and_ends_and_is_one_event(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("allocated") == 16)
        passes = len(node.datapath.tables)
        node.datapath.conflicts = (Conflict(RULES, MESSAGE),)
        await node.until(lambda: len(node.datapath.tables) == passes + 5, within_s=6 * PASS_S)
        assert logged(caplog) == [("host conflict", MESSAGE)]
        assert events(node) == [MESSAGE]
        node.datapath.conflicts = (Conflict(RULES, f"{MESSAGE} (3 rules)"),)
        await node.until(lambda: len(node.datapath.tables) == passes + 8, within_s=4 * PASS_S)
        assert logged(caplog)[1:] == [("host conflict", f"{MESSAGE} (3 rules)")]
        node.datapath.conflicts = ()
        await node.until(lambda: len(node.datapath.tables) == passes + 11, within_s=4 * PASS_S)
        assert logged(caplog)[2:] == [("host conflict ended", "")]
        assert events(node) == [MESSAGE]
