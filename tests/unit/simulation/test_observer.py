"""The judge of the simulation finds each kind of violation, and nothing where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fakeazure.throttling import COMPUTE_UPDATE_VM
from simulation.observer import Entry, Judge, instance_bucket, subscription_bucket


@pytest.fixture
def judge() -> Judge:
    return Judge(limit=300, grace_s=5.0, writes_per_minute=30)


def rules(judge: Judge) -> list[str]:
    return [violation.rule for violation in judge.violations]


def test_a_run_by_the_rules_is_without_fault(judge):
    judge.ledger_changed(0.0, {"a": Entry(200, "g/a"), "b": Entry(100, "g/b")}, limit=300)
    judge.nic_changed(10.0, "g/a", 200)
    judge.nic_changed(11.0, "g/b", 100)
    judge.nic_changed(20.0, "g/a", 50)
    judge.ledger_changed(30.0, {"a": Entry(50, "g/a"), "b": Entry(100, "g/b")}, limit=300)
    judge.look(100.0)

    assert judge.violations == []
    assert (judge.on_nics, judge.most_on_nics, judge.granted) == (150, 300, 150)


def test_more_on_all_nics_than_the_vnet_may_have(judge):
    judge.ledger_changed(0.0, {"a": Entry(200, "g/a")}, limit=300)
    judge.nic_changed(10.0, "g/a", 200)
    judge.nic_changed(11.0, "g/b", 101)

    assert rules(judge) == ["the VNet's limit"]
    assert judge.violations[0].at_s == 11.0


def test_more_on_one_nic_than_azure_allows(judge):
    judge.nic_changed(10.0, "g/a", 251)

    assert rules(judge) == ["the limit of a NIC"]


def test_a_ledger_whose_sum_is_over_the_limit(judge):
    judge.ledger_changed(0.0, {"a": Entry(200, "g/a"), "b": Entry(101, "g/b")}, limit=300)

    assert rules(judge) == ["the ledger's limit"]


def test_an_entry_over_what_one_node_may_hold(judge):
    judge.ledger_changed(0.0, {"a": Entry(251, "g/a")}, limit=300)

    assert rules(judge) == ["the limit of a NIC"]


def test_a_nic_written_before_its_entry(judge):
    judge.nic_changed(10.0, "g/a", 16)
    judge.ledger_changed(16.0, {"a": Entry(16, "g/a")}, limit=300)
    judge.look(100.0)

    assert rules(judge) == ["reserve before write"]


def test_a_nic_written_beyond_its_entry(judge):
    judge.ledger_changed(0.0, {"a": Entry(16, "g/a")}, limit=300)
    judge.nic_changed(10.0, "g/a", 17)
    judge.look(100.0)

    assert rules(judge) == ["reserve before write"]


def test_an_entry_that_we_learn_of_a_little_late_is_no_fault(judge):
    judge.nic_changed(10.0, "g/a", 16)
    judge.look(14.0)
    judge.ledger_changed(14.5, {"a": Entry(16, "g/a")}, limit=300)
    judge.look(100.0)

    assert judge.violations == []


def test_an_entry_of_another_nic_does_not_count(judge):
    judge.ledger_changed(0.0, {"a": Entry(16, "g/other")}, limit=300)
    judge.nic_changed(10.0, "g/a", 16)
    judge.look(100.0)

    assert rules(judge) == ["reserve before write"]


@pytest.mark.parametrize("after", [{}, {"a": Entry(8, "g/a")}])
def test_an_entry_lowered_below_what_the_nic_holds(judge, after):
    judge.ledger_changed(0.0, {"a": Entry(16, "g/a")}, limit=300)
    judge.nic_changed(10.0, "g/a", 16)
    judge.ledger_changed(30.0, after, limit=300)
    judge.look(100.0)

    assert rules(judge) == ["lower after release"]


def test_a_node_that_came_back_on_another_nic_keeps_its_former_entry(judge):
    judge.ledger_changed(0.0, {"a": Entry(16, "g/a")}, limit=300)
    judge.nic_changed(10.0, "g/a", 16)
    judge.ledger_changed(30.0, {"a~a": Entry(16, "g/a"), "a": Entry(0, "g/new")}, limit=300)
    judge.look(100.0)

    assert judge.violations == []


def test_nothing_is_judged_before_both_histories_can_have_shown_it(judge):
    judge.nic_changed(10.0, "g/a", 16)
    judge.look(14.9)
    early = list(judge.violations)
    judge.look(15.0)

    assert early == []
    assert rules(judge) == ["reserve before write"]


def test_who_judges_shares_no_code_with_the_product():
    """Nor do the modules that they load in their turn."""
    code = (
        "import sys, simulation.observer, simulation.history, simulation.measures;"
        "print([name for name in sys.modules if name.startswith('azure_cni')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_write_without_a_grant_of_its_own_refused_or_not(judge):
    judge.write_granted(1.0, "a")
    judge.nic_written(2.0, "a")
    judge.write_granted(1.0, "b")
    judge.look(60.0)
    assert judge.violations == []
    judge.nic_written(61.0, "a")
    judge.look(62.0)
    assert judge.violations == []  # its grant may reach us late
    judge.look(70.0)
    assert rules(judge) == ["a grant for each write"]
    assert judge.violations[0].at_s == 61.0


def test_a_grant_that_comes_later_is_none_for_a_write_before(judge):
    judge.nic_written(1.0, "a")
    judge.write_granted(9.0, "a")
    judge.look(60.0)
    assert rules(judge) == ["a grant for each write"]


def test_more_writes_in_a_minute_than_the_budget_allows_with_some_patience(judge):
    for number in range(43):  # 30 in a minute, and 12.5 in five graces
        assert judge.violations == []
        judge.write_granted(0.0, f"nic-{number}")
        judge.nic_written(number * 1.0, f"nic-{number}")
    assert rules(judge) == ["the write budget"]


def test_the_buckets_of_instances_are_azures():
    for bucket, limit in zip((instance_bucket(), subscription_bucket()), COMPUTE_UPDATE_VM, strict=True):
        assert (bucket.most, bucket.per_minute) == (limit.size, pytest.approx(limit.per_s * 60))


def test_an_instance_is_written_more_often_than_azure_allows(judge):
    for _ in range(12):
        judge.instance_written(10.0, "nodes_1")
    for at_s in (25.0, 40.0, 55.0, 70.0):
        judge.instance_written(at_s, "nodes_1")
    judge.instance_written(70.0, "nodes_2")
    assert rules(judge) == []

    judge.instance_written(70.0, "nodes_1")
    assert rules(judge) == ["Azure's limit of an instance"]


def test_all_instances_are_written_more_often_than_azure_allows(judge):
    for number in range(1500):
        judge.instance_written(10.0, f"nodes_{number}")
    assert rules(judge) == []

    judge.instance_written(10.1, "nodes_9999")
    assert rules(judge) == ["Azure's limit of a subscription"]
    for number in range(499):
        judge.instance_written(70.1, f"nodes_{number}")
    assert rules(judge) == ["Azure's limit of a subscription"]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["fd00::4"], ["fd00::5"], []),
        (["fd00::1:0/112"], ["fd00::2:0/112"], []),
        (["fd00::4"], ["fd00::4"], ["one holder of each address"]),
        (["fd00::1:0/112"], ["fd00::1:7"], ["one holder of each address"]),
        (["fd00::1:0/112", "fd00::4", "fd00::5"], [], []),
        (["fd00::1:0/112", "fd00::2:0/112"], [], ["one IPv6 block of a NIC"]),
    ],
)
def test_an_address_of_ipv6_has_one_nic_and_a_nic_one_block(first: list[str], second: list[str], said: list[str]):
    judge = Judge(limit=100, grace_s=1.0, writes_per_minute=30)
    judge.ipv6_changed(1.0, "g/a", appeared=first, vanished=[])
    judge.ipv6_changed(2.0, "g/b", appeared=second, vanished=[])
    assert [violation.rule for violation in judge.violations] == said


def test_an_address_of_ipv6_may_move_to_another_nic():
    judge = Judge(limit=100, grace_s=1.0, writes_per_minute=30)
    judge.ipv6_changed(1.0, "g/a", appeared=["fd00::4", "fd00::1:0/112"], vanished=[])
    assert judge.ipv6_of("g/a") == 65_537
    judge.ipv6_changed(2.0, "g/a", appeared=[], vanished=["fd00::4", "fd00::1:0/112"])
    judge.ipv6_changed(3.0, "g/b", appeared=["fd00::4", "fd00::1:0/112"], vanished=[])
    assert judge.violations == []
    assert (judge.ipv6_of("g/a"), judge.ipv6_of("g/b")) == (0, 65_537)


def test_both_families_share_what_a_nic_may_have():
    judge = Judge(limit=1000, grace_s=1.0, writes_per_minute=30)
    judge.configured(1.0, "g/a", 256)
    assert judge.violations == []
    judge.configured(2.0, "g/a", 257)
    assert [violation.rule for violation in judge.violations] == ["the limit of a NIC"]
