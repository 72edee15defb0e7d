"""Which lost addresses are asked for again, and what Azure's refusals mean for the next write."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S
from azure_cni.ipam.plan import (
    AwaitGrant,
    Grow,
    Losses,
    NoOp,
    PendingWrite,
    Plan,
    Recover,
    Rewrite,
    Shrink,
    WaitForAzure,
    next_step,
)
from azure_cni.ipam.recovery import (
    REFUSALS_AT_ONCE,
    REFUSED_WRITE_S,
    REMOVALS_AT_ONCE,
    SOON_S,
    Recoveries,
    lost_addresses,
)
from azure_cni.ipam.sizing import Policy
from azure_cni.model.config_names import is_our_name, made_here
from azure_cni.model.nic import (
    Address,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicView,
    StaticConfiguration,
    total_size,
)
from unit.ipam.views import address, adopted, assign, block, config, seen, view

NAME = "azure-cni-0abcdefg"
OURS = block(16, name=f"{NAME}-28")
ANOTHER = "/subscriptions/s/networkInterfaces/vm2-nic/ipConfigurations/azure-cni-1a2b3c4d"


def of(*numbers: int) -> tuple[StaticConfiguration, ...]:
    """What is asked for again of `config(number)`."""
    return tuple(StaticConfiguration(ConfigName(f"azure-cni-{n:08d}-static"), address(n)) for n in numbers)


def with_pods(count: int, *configs: int | IPConfiguration) -> Ledger:
    """A ledger in which pods have the lowest addresses of a NIC."""
    ledger = seen(*configs)
    for number in range(count):
        assign(ledger, number)
    return ledger


def left(ledger: Ledger, nic: NicView) -> tuple[StaticConfiguration, ...]:
    """What is lost once the ledger has observed the NIC."""
    ledger.apply(ledger.observe(nic, now_s=5.0).change)
    return lost_addresses(ledger, nic)


class TestLost:
    def test_is_what_pods_have_and_the_nic_has_not(self):
        assert left(with_pods(3, 1, 2, 3, 4, 5), view([2, 5])) == of(1, 3)

    def test_is_nothing_that_is_free_or_was_given_back(self):
        assert left(with_pods(0, 1, 2), view([])) == ()

    def test_is_nothing_that_others_made(self):
        assert left(with_pods(2, adopted(1), 2), view([])) == of(2)

    def test_is_nothing_that_came_back_under_another_name_or_for_no_pod(self):
        nic = view([config(1, name="azure-cni-9zzzzzzz")])
        excluded = ExcludedConfiguration("theirs", address(2), "has a public IP address")
        assert left(with_pods(2, 1, 2), replace(nic, excluded=(excluded,))) == ()

    def test_is_nothing_of_several_addresses_that_are_no_block_of_ours(self):
        assert left(with_pods(2, block(16)), view([])) == ()

    def test_is_a_whole_block_once_whatever_pods_had_of_it(self):
        lost = left(with_pods(3, OURS), view([]))
        assert lost == (StaticConfiguration(ConfigName(f"{OURS.name}-static"), OURS.addresses[0], 16),)
        assert str(lost[0]) == f"{OURS.address}/28"
        assert made_here(lost[0].name, static=True)

    def test_is_the_addresses_of_pods_alone_where_the_block_is_not_to_be_had(self):
        ledger = with_pods(3, OURS)
        for nic in (view([config(25)]), view([])):
            left(ledger, nic)
            found = lost_addresses(ledger, nic, broken=[OURS.addresses[0]] if not nic.secondaries else [])
            assert [(one.address, one.size) for one in found] == [(address(16 + n), 1) for n in range(3)]
            assert all(made_here(one.name, static=True) for one in found)

    def test_is_not_what_came_back_with_its_block(self):
        ledger = with_pods(3, OURS)
        back = replace(OURS, name=ConfigName(f"{OURS.name}-static"), static=True)
        assert left(ledger, view([back])) == ()

    def test_keeps_a_name_that_says_so_already(self):
        one = config(1, name=f"{NAME}-static")
        assert left(with_pods(1, replace(one, static=True)), view([])) == (StaticConfiguration(one.name, address(1)),)

    def test_is_asked_for_by_a_name_that_no_other_has(self):
        """A tool that puts an old copy of the NIC back gives the first name to another address."""
        first = replace(config(1, name=f"{NAME}-static"), static=True)
        second = replace(config(2, name=NAME), address=IPv4Address("172.31.255.254"))
        lost = left(with_pods(2, first, second), view([]))
        assert [one.address for one in lost] == [address(1), second.address]
        assert len({one.name for one in lost}) == 2
        assert all(made_here(one.name, static=True) for one in lost)

    def test_is_not_asked_for_by_a_name_that_the_nic_has(self):
        assert left(with_pods(1, 1), view([config(7, name="azure-cni-00000001-static")])) == ()


@pytest.mark.parametrize(
    ("name", "static", "made"),
    [
        (NAME, False, True),
        (NAME, True, False),
        (f"{NAME}-static", True, True),
        (f"{NAME}-static", False, True),
        (f"{NAME}-static-static", True, False),
        (f"{NAME}-28", False, True),
        (f"{NAME}-28", True, False),
        (f"{NAME}-28-static", True, True),
        (f"{NAME}-static-28", True, False),
        (f"{NAME}-27", False, False),
        ("azure-cni-frontend-static", True, False),
        ("ipconfig-static", True, False),
    ],
)
def test_what_is_made_static_here_says_so_in_its_name(name: str, static: bool, made: bool):  # noqa: FBT001
    assert made_here(name, static=static) is made
    assert is_our_name(name) or not made


class TestRefusals:
    def test_the_one_that_azure_names_rests_and_the_others_are_asked_for_at_once(self):
        words = f"IP configuration x is using the private IP address {address(2)} which is allocated to {ANOTHER}"
        after = Recoveries().after_refusal(of(1, 2, 20, 3), words, now_s=100.0, jitter=0.0)
        assert after.due(of(1, 2, 20, 3), now_s=100.0) == of(1, 20, 3)
        assert after.unavailable[address(2)].words == words
        assert after.due(of(2), now_s=100.0 + BACKOFF_REFUSED_S) == of(2)

    def test_without_a_name_halves_are_asked_for(self):
        after = Recoveries().after_refusal(of(1, 2, 3), "one of them is taken", now_s=0.0, jitter=0.0)
        assert (after.at_once, after.due(of(1, 2, 3), now_s=0.0)) == (2, of(1, 2, 3))
        again = after.after_refusal(of(1, 2), "one of them is taken", now_s=0.0, jitter=0.0)
        assert again.at_once == 1
        last = again.after_refusal(of(1), "it is taken", now_s=0.0, jitter=0.0)
        assert last.due(of(1, 2, 3), now_s=0.0) == of(2, 3)
        assert last.at_once > 3
        assert again.after_success().at_once == 2

    def test_pauses_grow_to_a_quarter_of_an_hour(self):
        known, now_s, pauses = Recoveries(), 0.0, []
        for _ in range(8):
            known = known.after_refusal(of(1), "taken", now_s=now_s, jitter=0.5)
            pauses.append(known.unavailable[address(1)].retry_at_s - now_s)
            now_s = known.unavailable[address(1)].retry_at_s
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (24.0, BACKOFF_REFUSED_S * 0.75)

    def test_what_is_lost_no_more_is_forgotten_and_a_person_ends_all_pauses(self):
        known = Recoveries().after_refusal(of(1), "taken", now_s=0.0, jitter=0.0)
        assert known.hurried(now_s=1.0).due(of(1), now_s=1.0) == of(1)
        assert known.forget_but([]) == Recoveries()
        assert known.forget_but([address(1)]) is known

    def test_after_some_in_a_row_there_is_time_between_them(self):
        known, now_s = Recoveries(), 100.0
        for number in range(REFUSALS_AT_ONCE):
            assert known.next_write(of(*range(20)), now_s=now_s)
            known = known.after_refusal(of(*range(20)), f"{address(number)} is taken", now_s=now_s, jitter=0.0)
        assert known.next_write(of(19), now_s=now_s) == ()
        assert known.next_due_s(after_s=now_s) == now_s + REFUSED_WRITE_S
        assert known.next_write(of(18, 19), now_s=now_s + REFUSED_WRITE_S) == of(18, 19)
        again = known.after_refusal(of(18, 19), f"{address(18)} is taken", now_s=110.0, jitter=0.0)
        assert again.next_write(of(19), now_s=110.0) == ()
        taken = known.after_success().after_refusal(of(19), "taken", now_s=110.0, jitter=0.0)
        assert taken.next_write(of(1), now_s=110.0) == of(1)
        assert known.hurried(now_s=100.0).next_write(of(19), now_s=100.0) == of(19)

    @given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.booleans())
    def test_all_that_can_be_had_is_had_in_few_writes(self, count: int, others: set[int], names_it: bool):  # noqa: FBT001
        lost = {one.address: one for one in of(*range(count))}
        taken = {address(number) for number in others if number < count}
        known, back, writes = Recoveries(), set[Address](), 0
        while due := known.due(tuple(one for one in lost.values() if one.address not in back), now_s=0.0):
            asked = due[: known.at_once]
            writes += 1
            first = next((one for one in asked if one.address in taken), None)
            if first is None:
                back |= {one.address for one in asked}
                known = known.after_success()
            else:
                words = f"{first.address} is {ANOTHER}'s" if names_it else "one is another's"
                known = known.after_refusal(asked, words, now_s=0.0, jitter=0.0)
        assert back == lost.keys() - taken
        assert writes <= 1 + len(taken) * (1 if names_it else 3 * (1 + count.bit_length()))


class TestRemovals:
    def test_that_follow_soon_on_what_was_added_make_pauses_that_grow_to_that_of_a_failed_write(self):
        known, now_s, pauses = Recoveries(), 0.0, []
        for _ in range(10):
            known = known.after_adding(now_s=now_s).after_removal(now_s=now_s + 15.0, jitter=1.0)
            now_s = max(now_s + 15.0, known.rests_until_s)
            pauses.append(max(0.0, known.rests_until_s - known.added_at_s - 15.0))
        assert pauses[:REMOVALS_AT_ONCE] == [0.0] * REMOVALS_AT_ONCE
        assert pauses[REMOVALS_AT_ONCE:] == sorted(pauses[REMOVALS_AT_ONCE:])
        assert (pauses[REMOVALS_AT_ONCE], pauses[-1]) == (32.0, BACKOFF_MAX_S)
        assert not known.rests_after_removals(now_s=now_s)
        assert known.rests_after_removals(now_s=now_s - 1.0)
        assert known.next_write(of(1), now_s=now_s - 1.0) == ()
        assert known.next_write(of(1), now_s=now_s) == of(1)

    def test_that_come_later_are_met_at_once(self):
        known = Recoveries(removals=9, added_at_s=0.0)
        later = known.after_removal(now_s=SOON_S + 1.0, jitter=1.0)
        assert (later.removals, later.next_write(of(1), now_s=SOON_S + 1.0)) == (0, of(1))
        assert Recoveries().after_removal(now_s=1.0, jitter=1.0) == Recoveries()


def step(ledger: Ledger, nic: NicView, *, granted: int = 250, policy: Policy | None = None, **more: object) -> Plan:
    due = left(ledger, nic)
    recover = more.pop("recover", due)
    losses = Losses(total_size(due), recover)  # type: ignore[arg-type]
    arguments = {"waiting": 0, "now_s": 9.0, "surplus_since_s": None, "losses": losses, **more}
    return next_step(ledger, nic, policy or Policy(), granted=granted, **arguments)  # type: ignore[arg-type]


def test_a_block_of_which_another_has_one_is_asked_for_by_its_addresses_from_then_on():
    asked = (StaticConfiguration(ConfigName(f"{NAME}-28-static"), address(16), 16), *of(3))
    words = f"the private IP address {address(20)} which is already allocated to resource {ANOTHER}"
    known = Recoveries().after_refusal(asked, words, now_s=5.0, jitter=0.0)
    assert (known.broken, dict(known.unavailable)) == ({address(16)}, {})
    assert known.forget_but([address(18)]).broken == {address(16)}
    assert known.forget_but([address(3)]).broken == frozenset()
    assert known.hurried(now_s=6.0).broken == frozenset()


class TestPlan:
    def test_a_block_comes_back_whole_or_waits_for_its_grant(self):
        policy = Policy(blocks=28)
        plan = step(with_pods(3, OURS), view([]), policy=policy)
        assert isinstance(plan.step, Recover)
        assert (plan.step.add, plan.requested) == (16, 32)
        assert step(with_pods(3, OURS), view([]), policy=policy, granted=15).step == AwaitGrant(16)

    def test_what_pods_lost_comes_before_growth_and_is_asked_for_with_it(self):
        plan = step(with_pods(4, *range(16)), view([]))
        assert plan.step == Recover(of(0, 1, 2, 3))
        assert (plan.target, plan.requested) == (16, 20)

    def test_it_waits_for_the_answer_to_its_request_alone(self):
        ledger, nic = with_pods(4, *range(16)), view([])
        assert step(ledger, nic, granted=0).step == AwaitGrant(20, recover=True)
        assert step(ledger, nic, granted=0, may_grow=False).step == AwaitGrant(20, recover=True)
        assert step(ledger, nic, granted=3).step == Recover(of(0, 1, 2))
        assert step(ledger, view([12, 13, 14]), granted=3).step == AwaitGrant(16)  # as any growth

    def test_it_is_asked_for_beside_more_than_the_pool_wants(self):
        plan = step(with_pods(1, *range(30)), view(range(1, 30)), granted=30)
        assert (plan.target, plan.requested, plan.step) == (16, 30, Recover(of(0)))

    def test_it_comes_before_every_other_write(self):
        ledger = with_pods(4, *range(200))
        failed = replace(view(range(100, 200)), failed=True)
        pending = PendingWrite(300, failed.etag)
        doubtful = step(ledger, failed, pending_write=pending, groups=("/web",))
        assert doubtful.step == Recover(of(0, 1, 2, 3))
        assert isinstance(step(ledger, failed, recover=()).step, Rewrite | Shrink)

    def test_but_not_while_azure_works_or_the_pool_is_paused(self):
        ledger, nic = with_pods(4, *range(16)), view([])
        due = left(ledger, nic)
        settling = replace(nic, settled=False)
        for found, policy, expected in ((settling, Policy(), WaitForAzure()), (nic, Policy(paused=True), NoOp())):
            arguments = {"waiting": 0, "now_s": 9.0, "surplus_since_s": None, "granted": 250}
            plan = next_step(ledger, found, policy, **arguments, losses=Losses(len(due), due))
            assert plan.step == expected
            assert plan.requested == 20  # what it was granted stays its own

    def test_growth_goes_on_while_it_rests(self):
        plan = step(with_pods(4, *range(16)), view([]), recover=())
        assert (plan.step, plan.requested) == (Grow(16), 20)

    def test_a_pool_that_has_no_place_for_it_makes_the_writes_that_it_can(self):
        """Also before its request is answered: else the two would displace each other's requests in turns."""
        ledger, nic = with_pods(4, *range(16)), replace(view(range(1, 9)), failed=True)
        for granted in (0, 8):
            plan = step(ledger, nic, granted=granted, policy=Policy(min_free=0, max_free=8, batch=1, maximum=8))
            assert (plan.requested, plan.step) == (8, Rewrite())

    def test_it_is_never_more_than_the_pool_or_the_nic_may_hold(self):
        everything = with_pods(250, *range(250))
        assert step(everything, view([])).requested == 250
        others = [
            IPConfiguration(ConfigName(f"other-{n}"), IPv4Address(f"10.9.0.{n}"), False, True) for n in range(200)
        ]
        crowded = step(with_pods(100, *range(100)), view(others))
        assert isinstance(crowded.step, Recover)
        assert len(crowded.step.configs) == 50  # of 250
        small = step(with_pods(4, *range(16)), view([]), policy=Policy(maximum=2, min_free=0, max_free=1, batch=1))
        assert small.requested == 2
