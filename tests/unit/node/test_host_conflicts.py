"""What others on the host do is reported once, where people look, and stands there until it ends."""

from __future__ import annotations

import logging

import pytest

from azure_cni.datapath.conflicts import Conflict, ConflictReason
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
        told = node.condition("HostConflict")
        assert (told["reason"], told["message"]) == ("ForeignPolicyRules", MESSAGE)
        assert node.condition("Ready")["status"] == "True"
        node.datapath.conflicts = ()
        await node.until(lambda: node.condition("HostConflict")["status"] == "False", within_s=PASS_S)


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
