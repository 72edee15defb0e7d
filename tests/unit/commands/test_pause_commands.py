"""`pause` and `resume` from their flags to the pools; and who shows a pause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from azure_cni.api.introspection import NodeReport
from azure_cni.commands import pause_commands
from azure_cni.commands.reads import POOLS
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import answering, run
from unit.diagnose.clusters import cluster, condition, pod, pool, process

NODE = f"{POOLS}/vm1"
PAUSED = "paused since 2026-11-28T06:19:26Z by jane: NIC work"


def spec(access: FakeClusterAccess, node: str = "vm1") -> Mapping[str, Any]:
    return dict(access.read_object(f"{POOLS}/{node}")["spec"])


def two_nodes() -> FakeClusterAccess:
    processes = [process("agent"), process("agent", "vm2"), process("controller")]
    return cluster(pools=[pool(), pool("vm2", free=3)], processes=processes)


def test_a_pause_says_who_since_when_what_works_and_how_it_ends():
    access = cluster()
    done = run(access, "pause", "vm1", "--reason", "NIC work")
    assert done.exit_code == 0
    assert spec(access) == {"paused": True}
    for words in (f"√ node vm1: {PAUSED}\n", "1 address now", "stops: all writes", "azure-cni resume vm1"):
        assert words in done.stdout
    done = run(access, "resume", "vm1")
    assert (done.exit_code, spec(access)) == (0, {})
    assert "√ node vm1: not paused\n" in done.stdout
    assert access.read_object(NODE)["metadata"]["annotations"] == {}


def test_all_nodes_that_have_a_pool():
    access = two_nodes()
    answer = json.loads(run(access, "pause", "--all", "-o", "json").stdout)
    assert [(one["node"], one["free"], one["changed"]) for one in answer["nodes"]] == [
        ("vm1", 1, True),
        ("vm2", 3, True),
    ]
    assert spec(access, "vm2") == {"paused": True}
    assert run(access, "resume", "--all").exit_code == 0
    assert (spec(access), spec(access, "vm2")) == ({}, {})


def test_somebody_elses_pause_stays_theirs():
    access = cluster()
    run(access, "pause", "vm1", "--reason", "NIC work")
    access.user, access.now = "bob", "2026-11-28T09:00:00Z"
    done = run(access, "pause", "vm1", "--reason", "other work")
    assert done.exit_code == 0
    assert f"{PAUSED} (as before)" in done.stdout


def test_a_dry_run_tries_rights_and_changes_nothing():
    access = cluster()
    done = run(access, "pause", "vm1", "--dry-run", "--wait")
    assert (done.exit_code, spec(access)) == (0, {})
    assert "dry run, nothing was changed" in done.stdout
    access.denied.add(f"PATCH {NODE}")
    assert run(access, "pause", "vm1", "--dry-run").exit_code == 3


def test_who_may_not_pause_is_told_which_role_gives_it_and_others_are_paused_all_the_same():
    access = two_nodes()
    access.denied.add(f"PATCH {NODE}")
    done = run(access, "pause", "--all")
    assert done.exit_code == 3
    assert "cannot pause node vm1" in done.stdout
    assert "ClusterRole azure-cni-pause" in done.stdout
    assert (spec(access), spec(access, "vm2")) == ({}, {"paused": True})


def test_a_cluster_that_does_not_say_who_one_is_can_be_paused_all_the_same():
    access = cluster()
    access.denied.add("selfsubjectreviews")
    done = run(access, "pause", "vm1", "--reason", "NIC work")
    assert done.exit_code == 0
    assert "paused since 2026-11-28T06:19:26Z: NIC work" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("pause",), 2, "name nodes, or all of them with --all"),
        (("resume", "vm1", "--all"), 2, "name nodes, or all of them with --all"),
        (("pause", "vm9"), 3, "cannot pause node vm9"),
    ],
)
def test_what_cannot_be_done_is_said(words: tuple[str, ...], code: int, said: str):
    done = run(cluster(), *words)
    assert done.exit_code == code
    assert said in done.stdout + done.stderr


def test_a_cluster_without_pools_has_nothing_to_pause():
    assert run(cluster(pools=[]), "pause", "--all").exit_code == 3


class Noticing(FakeClusterAccess):
    """Its agents take notice of a change after the third look, and Azure ends what it worked on with the fifth."""

    looks = 0

    def read_object(self, path: str) -> Mapping[str, Any]:
        found = dict(super().read_object(path))
        self.looks += path == NODE
        seen = {"observedGeneration": found["metadata"].get("generation", 1)} if self.looks > 3 else {}
        growing = condition("Growing", self.looks < 6, "NicWriteInFlight" if self.looks < 6 else "Paused")
        return found | {"status": found["status"] | seen | {"conditions": [growing]}}


def test_it_waits_until_the_agent_has_seen_it_and_azure_is_done(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pause_commands, "LOOK_AGAIN_S", 0.0)
    access = Noticing(cluster().objects)
    done = run(access, "pause", "vm1")
    assert done.exit_code == 0
    assert "has not taken notice" in done.stdout
    run(access, "resume", "vm1")
    access.looks = 0
    done = run(access, "pause", "vm1", "--wait")
    assert (done.exit_code, access.looks) == (0, 6)
    assert "‼" not in done.stdout
    assert run(Noticing(cluster().objects), "pause", "vm1", "--wait", "--timeout", "0").exit_code == 1


def test_status_why_and_plan_show_it():
    access = answering(cluster(pod()), NodeReport(node="vm1"))
    run(access, "pause", "vm1", "--reason", "NIC work")
    done = run(access, "status")
    assert done.exit_code == 1
    assert done.stdout.startswith("‼ node vm1: Paused\n")
    assert PAUSED in done.stdout
    assert f"the pool of node vm1 is {PAUSED}" in run(access, "why", "web").stdout
    assert f"{PAUSED}; end it: azure-cni resume vm1" in run(access, "plan", "vm1").stdout
    assert json.loads(run(access, "plan", "vm1", "-o", "json").stdout)["pause"]["by"] == "jane"


def test_words_of_who_paused_it_do_nothing_to_a_terminal():
    access = cluster()
    access.user = "\x1b[2Jowned"
    done = run(access, "pause", "vm1", "--reason", "\x9b31m\u202enaked\nall is well")
    assert all(line.isprintable() for line in done.stdout.splitlines())
