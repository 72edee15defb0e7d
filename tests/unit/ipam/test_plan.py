from dataclasses import replace

import pytest

from azure_cni.api.node_ip_pool import Recall
from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.limits import COOLING_S, SETTLE_POLL_S, SHRINK_DELAY_S
from azure_cni.ipam.plan import (
    AwaitGrant,
    Grow,
    NoOp,
    PendingWrite,
    Plan,
    Regroup,
    Rewrite,
    Shrink,
    Step,
    WaitForAzure,
    next_step,
)
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import ExcludedConfiguration, IPConfiguration
from unit.ipam.views import address, adopted, assign, block, config, seen, unassign, view

DEFAULT = Policy()


def plan(
    configs: list[int | IPConfiguration],
    *,
    ledger: Ledger | None = None,
    policy: Policy = DEFAULT,
    settled: bool = True,
    waiting: int = 0,
    now_s: float = 1000.0,
    since_s: float | None = None,
    granted: int = 250,
    pending_write: PendingWrite | None = None,
) -> Plan:
    return next_step(
        ledger or seen(*configs),
        view(configs, settled=settled),
        policy,
        waiting=waiting,
        now_s=now_s,
        surplus_since_s=since_s,
        granted=granted,
        pending_write=pending_write,
    )


class TestGrow:
    def test_in_one_step(self):
        assert plan([]) == Plan(target=16, requested=16, step=Grow(16))
        assert plan(list(range(16)), waiting=100).step == Grow(96)

    def test_asks_before_it_takes(self):
        assert plan([], granted=0).step == AwaitGrant(16)
        assert plan(list(range(16)), waiting=20, granted=16).step == AwaitGrant(32)

    def test_takes_what_is_granted_when_that_is_less(self):
        assert plan(list(range(16)), waiting=20, granted=20).step == Grow(4)

    def test_a_grant_that_is_larger_than_the_target_is_no_reason_to_grow(self):
        assert plan(list(range(16)), granted=250).step == NoOp()

    def test_max_includes_adopted_addresses(self):
        configs = [adopted(n) for n in range(10)]
        assert plan(configs, policy=Policy(maximum=12), waiting=9).step == Grow(2)

    def test_what_others_added_and_never_worked_is_no_reason_not_to_grow(self):
        configs = [config(n, name=f"other-{n}", ready=False) for n in range(16)]
        assert plan(configs, waiting=1).step == Grow(16)
        assert plan(configs, waiting=1, policy=Policy(maximum=20)).step == Grow(4)
        assert plan(configs, waiting=1, settled=False).step == WaitForAzure()
        grown = [*configs, *range(20, 36)]
        assert plan(grown, waiting=1).step == NoOp()

    @pytest.mark.parametrize(("others", "step"), [(10, Grow(15)), (24, Grow(1)), (25, NoOp()), (30, NoOp())])
    def test_the_platforms_limit_includes_what_is_not_for_pods(self, others: int, step: Step):
        excluded = tuple(ExcludedConfiguration(f"six{n}", None, "is IPv6") for n in range(others))
        nic = replace(view(range(230)), excluded=excluded)
        ledger = seen(*range(230))
        arguments = {"waiting": 0, "now_s": 0.0, "surplus_since_s": None, "granted": 250}
        assert next_step(ledger, nic, Policy(size=250), **arguments).step == step

    def test_lost_addresses_neither_fill_the_pool_nor_ask_for_more(self):
        ledger = seen(*range(16))
        for number in range(8):
            assign(ledger, number)
        configs = list(range(8, 24))
        ledger.apply(ledger.observe(view(configs), now_s=1.0).change)
        assert ledger.counts().missing == 8
        assert plan(configs, ledger=ledger).step == NoOp()

    def test_a_request_never_falls_below_what_is_on_the_nic(self):
        assert plan(list(range(20))).requested == 20


class TestShrink:
    def test_only_after_a_surplus_without_a_break(self):
        configs = list(range(32))
        first = plan(configs, now_s=1000.0)
        assert first == Plan(16, 32, NoOp(), surplus_since_s=1000.0, wake_at_s=1000.0 + SHRINK_DELAY_S)
        later = plan(configs, now_s=1100.0, since_s=1000.0)
        assert later == Plan(16, 32, NoOp(), surplus_since_s=1000.0, wake_at_s=1000.0 + SHRINK_DELAY_S)
        due = plan(configs, now_s=1000.0 + SHRINK_DELAY_S, since_s=1000.0)
        assert isinstance(due.step, Shrink)
        assert len(due.step.names) == 16
        assert due.surplus_since_s == 1000.0  # a failed write is tried again at once

    def test_a_break_starts_it_again(self):
        assert plan(list(range(24)), now_s=1100.0, since_s=1000.0).surplus_since_s is None

    def test_up_to_max_free_is_no_surplus(self):
        assert plan(list(range(24))) == Plan(16, 24, NoOp())
        assert plan(list(range(25))).surplus_since_s == 1000.0

    def test_the_longest_free_go_first(self):
        ledger = seen(*range(1, 30, 2), now_s=50.0)
        configs = list(range(30))
        ledger.apply(ledger.observe(view(configs), now_s=60.0).change)
        step = plan(configs, ledger=ledger, since_s=0.0).step
        assert isinstance(step, Shrink)
        assert step.addresses == tuple(address(n) for n in range(1, 29, 2))

    def test_never_assigned_cooling_or_adopted_ones(self):
        configs = [adopted(n) if n < 10 else n for n in range(40)]
        ledger = seen(*configs)
        for number in range(14):
            assign(ledger, number)
        for number in range(10):
            unassign(ledger, number, now_s=990.0)
        step = plan(configs, ledger=ledger, since_s=0.0).step
        assert isinstance(step, Shrink)
        assert set(step.addresses) == {address(n) for n in range(14, 22)}
        assert all(name.startswith("azure-cni-") for name in step.names)

    def test_a_surplus_of_adopted_addresses_is_left_alone(self):
        assert plan([adopted(n) for n in range(40)], since_s=0.0) == Plan(16, 40, NoOp())

    def test_wakes_for_what_cools_if_that_is_sooner(self):
        configs = list(range(40))
        ledger = seen(*configs)
        assign(ledger, 1)
        unassign(ledger, 1, now_s=1000.0)
        assert plan(configs, ledger=ledger).wake_at_s == 1000.0 + COOLING_S

    def test_a_lower_max_is_reached_without_a_pod_losing_its_address(self):
        configs = list(range(60))
        ledger = seen(*configs)
        for number in range(45):
            assign(ledger, number)
        step = plan(configs, ledger=ledger, policy=Policy(maximum=20), since_s=0.0).step
        assert isinstance(step, Shrink)
        assert set(step.addresses) == {address(n) for n in range(45, 60)}


class TestKept:
    """What stays on the NIC of an instance of a Uniform scale set (scaleSets.shrink)."""

    def test_a_surplus_stays(self):
        configs = [replace(config(number), kept=True) for number in range(64)]
        assert plan(configs, now_s=1000.0 + SHRINK_DELAY_S, since_s=1000.0).step == NoOp()
        assert plan(list(range(64)), now_s=1000.0 + SHRINK_DELAY_S, since_s=1000.0).step != NoOp()

    def test_what_never_came_to_work_is_grown_beside(self):
        idle = [replace(config(number, ready=False), kept=True) for number in range(8)]
        ledger = seen(*idle)
        assert plan(idle, ledger=ledger).step == Grow(8)

    def test_what_only_the_model_has_leaves(self):
        coming = IPConfiguration(config(1).name, None, primary=False, ready=False)
        step = plan([*range(2, 20), coming]).step
        assert isinstance(step, Shrink)
        assert step.names == (coming.name,)


class TestBlocks:
    """Configurations that hold several addresses: what people ask for counts addresses, a write configurations."""

    def test_their_addresses_are_held(self):
        assert plan([block(16)]) == Plan(16, 16, NoOp())
        assert plan([block(16)], waiting=20).step == Grow(16)
        assert plan([block(16)], waiting=20, granted=20).step == Grow(4)
        assert plan([block(16)], waiting=20, granted=16).step == AwaitGrant(32)
        assert plan([block(16), block(32)], policy=Policy(maximum=30), waiting=30).step == NoOp()

    def test_one_leaves_whole_or_not_at_all(self):
        configs = [*range(16), block(16), block(32)]
        ledger = seen(*configs)
        for number in range(17):
            assign(ledger, number)
        taken = plan(configs, ledger=ledger, policy=Policy(size=20), since_s=0.0).step
        assert taken == Shrink((block(32).name,), tuple(address(32 + n) for n in range(16)))
        assert plan(configs, ledger=ledger, policy=Policy(size=33), since_s=0.0).step == NoOp()

    def test_others_blocks_stay(self):
        assert plan([block(16, name="theirs"), block(32, name="other")], since_s=0.0) == Plan(16, 32, NoOp())

    def test_one_that_azure_failed_to_make_work_leaves_with_all_its_addresses(self):
        failed = replace(block(16), ready=False)
        assert plan([1, failed]).step == Shrink((failed.name,), failed.addresses)

    def test_one_that_the_ledger_does_not_know_stays(self):
        failed = config(2, ready=False)
        assert plan([1, failed], ledger=seen(1)).step == Grow(14)
        theirs = replace(block(16, name="theirs"), ready=False)
        assert plan([theirs], waiting=1).step == Grow(16)

    def test_the_platforms_limit_counts_one_for_each(self):
        configs = [block(1000 + 16 * n) for n in range(10)]
        assert plan(configs, policy=Policy(size=250)).step == Grow(90)


class TestPoolOfBlocks:
    """`blocks: 28`: it grows by whole blocks, and everything counts addresses."""

    POLICY = Policy(blocks=28)

    def test_it_grows_by_whole_blocks(self):
        assert plan([], policy=self.POLICY) == Plan(target=16, requested=16, step=Grow(16, size=16))
        assert plan([block(16)], policy=self.POLICY, waiting=30).step == Grow(32, size=16)
        assert plan(list(range(5)), policy=self.POLICY, waiting=20).step == Grow(32, size=16)  # 37 where 32 are wanted
        assert plan([], policy=Policy(size=240, blocks=28)).step == Grow(240, size=16)

    def test_its_last_block_is_the_one_that_has_room(self):
        full = [block(16 * n) for n in range(15)]
        assert plan(full, policy=self.POLICY, waiting=250) == Plan(240, 240, NoOp(), needed=250)
        assert plan(full[:14], policy=self.POLICY, waiting=250).step == Grow(16, size=16)
        assert plan([adopted(n) for n in range(10)], policy=Policy(maximum=30, blocks=28)).step == Grow(16, size=16)
        assert plan([adopted(n) for n in range(15)], policy=Policy(maximum=30, blocks=28), waiting=9).step == NoOp()

    def test_a_grant_of_a_part_is_not_used(self):
        assert plan([block(16)], policy=self.POLICY, waiting=30, granted=31).step == AwaitGrant(48)
        assert plan([block(16)], policy=self.POLICY, waiting=30, granted=47).step == Grow(16, size=16)

    def test_a_block_with_a_pod_or_an_address_that_cools_stays(self):
        configs = [block(16), block(32), block(48)]
        ledger = seen(*configs)
        for number in range(17):
            assign(ledger, number)
        for number in range(16):
            unassign(ledger, number, now_s=990.0)
        assert plan(configs, ledger=ledger, policy=Policy(size=16, blocks=28), since_s=0.0).step == Shrink(
            (block(48).name,), block(48).addresses
        )

    def test_a_recall_takes_no_part_of_a_block_and_brings_none(self):
        recall = Recall(1, hold=20)
        arguments = {"waiting": 0, "now_s": 0.0, "surplus_since_s": None, "granted": 250}
        at_rest = next_step(seen(block(16)), view([block(16)]), self.POLICY, **arguments, recall=recall)
        assert (at_rest.target, at_rest.step) == (16, NoOp())
        two = [block(16), block(32)]
        given = next_step(seen(*two), view(two), self.POLICY, **arguments, recall=Recall(1, hold=16))
        assert isinstance(given.step, Shrink)
        assert len(given.step.addresses) == 16

    def test_the_platforms_limit_counts_one_for_each(self):
        excluded = tuple(ExcludedConfiguration(f"six{n}", None, "is IPv6") for n in range(254))
        crowded = replace(view(), excluded=excluded)
        arguments = {"waiting": 0, "now_s": 0.0, "surplus_since_s": None, "granted": 250}
        assert next_step(seen(), crowded, Policy(size=240, blocks=28), **arguments).step == Grow(16, size=16)


class TestFixedSize:
    def test_grows_and_shrinks_to_it(self):
        fixed = Policy(size=20)
        assert plan([], policy=fixed).step == Grow(20)
        assert plan(list(range(20)), policy=fixed) == Plan(20, 20, NoOp())
        step = plan(list(range(21)), policy=fixed, since_s=0.0).step
        assert isinstance(step, Shrink)
        assert len(step.names) == 1


class TestUnaccounted:
    """A write of which nobody knows whether it will yet come to pass."""

    OPEN = PendingWrite(16, view().etag)

    def test_what_it_could_add_stays_reserved_and_more_than_is_wanted_is_prevented(self):
        configs = list(range(16))
        assert plan(configs, pending_write=self.OPEN).step == NoOp()
        assert plan(configs, waiting=20, pending_write=PendingWrite(32, "e")).step == Grow(16)
        assert isinstance(plan(configs, pending_write=PendingWrite(32, "e")).step, Rewrite)

    @pytest.mark.parametrize("more", [{}, {"waiting": 100}, {"waiting": 100, "granted": 0}, {"since_s": 0.0}])
    def test_what_it_could_take_off_is_got_back_first_of_all(self, more):
        ledger = seen(*range(48))
        ledger.apply(ledger.release([address(n) for n in range(32)], now_s=0.0))
        ledger.apply(ledger.observe(view(range(48)), now_s=0.0, write_pending=True).change)
        assert ledger.counts().releasing == 32
        step = plan(list(range(48)), ledger=ledger, pending_write=PendingWrite(48, view().etag), **more).step
        assert isinstance(step, Rewrite)
        assert step.reason == "a write with an unknown outcome must not come through late"

    def test_but_not_while_azure_works_or_the_pool_is_paused(self):
        ledger = seen(*range(16))
        ledger.apply(ledger.release([address(1)], now_s=0.0))
        configs = list(range(16))
        assert plan(configs, ledger=ledger, pending_write=self.OPEN, settled=False).step == WaitForAzure()
        assert plan(configs, ledger=ledger, pending_write=self.OPEN, policy=Policy(paused=True)).step == NoOp()


class TestOthers:
    def test_a_nic_that_azure_updates_is_left_alone(self):
        settling = plan([], settled=False, since_s=7.0)
        assert settling == Plan(16, 16, WaitForAzure(), surplus_since_s=7.0, wake_at_s=1000.0 + SETTLE_POLL_S)

    @pytest.mark.parametrize("configs", [[], list(range(40)), [config(1, ready=False)]])
    def test_paused_does_nothing(self, configs):
        assert plan(configs, policy=Policy(paused=True), since_s=0.0).step == NoOp()

    def test_configurations_that_failed_are_left_out_before_anything_else(self):
        unchosen = IPConfiguration(config(3).name, None, primary=False, ready=False)
        theirs = config(4, ready=False, name="theirs")
        step = plan([1, config(2, ready=False), unchosen, theirs]).step
        assert step == Shrink((config(2).name, config(3).name), (address(2),))

    @pytest.mark.parametrize(("held", "step"), [(16, Rewrite()), (10, Grow(6)), (20, Rewrite())])
    def test_a_failed_nic_is_repaired_by_the_next_write_or_by_one_of_its_own(self, held, step):
        nic = replace(view(list(range(held))), failed=True)
        arguments = {"waiting": 0, "now_s": 0.0, "surplus_since_s": None, "granted": 250}
        assert next_step(seen(*range(held)), nic, DEFAULT, **arguments).step == step
        paused = next_step(seen(*range(held)), nic, Policy(paused=True), **arguments)
        assert paused.step == NoOp()

    def test_a_failed_write_does_not_touch_what_worked_before(self):
        ledger = seen(*range(16))
        assert plan([config(n, ready=False) for n in range(16)], ledger=ledger).step == NoOp()

    @pytest.mark.parametrize(("granted", "growth"), [(250, Grow(6)), (0, AwaitGrant(16))])
    def test_security_groups_come_after_growth_but_do_not_wait_while_it_rests(self, granted: int, growth: Step):
        nic, arguments = view(list(range(10))), {"waiting": 0, "now_s": 0.0, "surplus_since_s": None}
        for may_grow, step in ((True, growth), (False, Regroup(("/web",)))):
            found = next_step(
                seen(*range(10)), nic, DEFAULT, **arguments, granted=granted, may_grow=may_grow, groups=("/web",)
            )
            assert found.step == step
        resting = next_step(seen(*range(10)), nic, DEFAULT, **arguments, granted=granted, may_grow=False, groups=())
        assert resting.step == growth  # the NIC is in none, as wanted

    def test_a_failed_nic_is_repaired_while_what_shall_leave_it_rests(self):
        nic = replace(view(list(range(40))), failed=True)
        arguments = {"waiting": 0, "now_s": 900.0, "surplus_since_s": 0.0, "granted": 40}
        shrink = next_step(seen(*range(40)), nic, DEFAULT, **arguments).step
        assert isinstance(shrink, Shrink)
        for found, may_rewrite, step in ((nic, True, Rewrite()), (nic, False, shrink), (view(range(40)), True, shrink)):
            plan = next_step(seen(*range(40)), found, DEFAULT, **arguments, may_shrink=False, may_rewrite=may_rewrite)
            assert plan.step == step

    @pytest.mark.parametrize(("granted", "growth"), [(250, Grow(6)), (0, AwaitGrant(16))])
    def test_a_failed_nic_is_repaired_while_growth_rests_unless_its_repair_does_too(self, granted: int, growth: Step):
        nic = replace(view(list(range(10))), failed=True)
        arguments = {"waiting": 0, "now_s": 0.0, "surplus_since_s": None, "granted": granted}
        for may_grow, may_rewrite, step in (
            (True, True, growth),
            (False, True, Rewrite()),
            (False, False, growth),
        ):
            found = next_step(seen(*range(10)), nic, DEFAULT, **arguments, may_grow=may_grow, may_rewrite=may_rewrite)
            assert found.step == step
