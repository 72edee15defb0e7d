import pytest

from azure_cni.errors import AzureCniError, EnvironmentInvalid, LedgerError, NoAddress
from azure_cni.ipam.ledger import Change, Counts, Holder, Ledger, LinkParameters, Sandbox, Slot, State
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from unit.ipam.views import address, assign, config, holder, seen, unassign, view


def states(ledger: Ledger) -> dict[int, State]:
    return {int(slot.address) - int(address(0)): slot.state for slot in ledger.slots}


class TestAssign:
    def test_takes_the_longest_free_and_of_equals_the_lowest(self):
        ledger = seen(5, 3, now_s=10.0)
        ledger.apply(ledger.observe(view([5, 3, 1]), now_s=20.0).change)
        assert [assign(ledger, n, now_s=30.0) for n in range(3)] == [address(3), address(5), address(1)]

    def test_decides_and_does_nothing(self):
        ledger = seen(1)
        change = ledger.assign(holder(1), now_s=5.0, at_limit=False)
        assert not ledger.holding(holder(1).sandbox)
        assert change == Change(put=(Slot(address(1), config(1).name, State.ASSIGNED, 5.0, holder(1)),))

    def test_a_repeat_changes_nothing(self):
        ledger = seen(1, 2)
        first = assign(ledger, 1)
        assert not ledger.assign(holder(1), now_s=9.0, at_limit=False)
        assert assign(ledger, 1) == first

    def test_a_repeat_that_knows_more_of_the_pod_keeps_the_address(self):
        ledger = seen(1, 2)
        first = assign(ledger, 1)
        ledger.apply(ledger.assign(holder(1, pod_name="web"), now_s=9.0, at_limit=False))
        (slot,) = ledger.holding(holder(1).sandbox)
        assert slot.holder is not None
        assert (slot.address, slot.holder.pod_name) == (first, "web")

    def test_what_it_was_wired_with_is_kept_with_the_holder_until_it_is_changed_or_given_back(self):
        ledger, given, later = seen(1), LinkParameters(1500, address(4)), LinkParameters(1500, address(9))
        ledger.apply(ledger.assign(holder(1), now_s=1.0, at_limit=False, link=given))
        ledger.apply(ledger.assign(holder(1, pod_name="web"), now_s=2.0, at_limit=False, link=later))
        assert [slot.link for slot in ledger.slots] == [given]
        assert not ledger.adapt(holder(1).sandbox, given)
        assert not ledger.adapt(holder(2).sandbox, later)
        ledger.apply(ledger.adapt(holder(1).sandbox, later))
        ledger.apply(ledger.observe(view([]), now_s=3.0).change)  # the NIC has lost it, and the pod has it still
        assert [slot.link for slot in ledger.slots] == [later]
        ledger.apply(ledger.observe(view([1]), now_s=4.0).change)
        unassign(ledger, 1)
        assert [slot.link for slot in ledger.slots] == [None]

    def test_two_networks_cannot_have_one_interface(self):
        ledger = seen(1, 2)
        assign(ledger, 1)
        other = Holder(holder(1).sandbox._replace(network="storage"))
        with pytest.raises(
            EnvironmentInvalid, match=r'cannot use CNI_IFNAME "eth0" for container container-1 in network "sto'
        ):
            ledger.assign(other, now_s=0.0, at_limit=False)
        assert not ledger.holding(other.sandbox)
        assert not ledger.unassign(other.sandbox, now_s=1.0)
        assert ledger.other_network(other.sandbox) == "azure-cni"
        assert ledger.other_network(holder(1).sandbox) == ledger.other_network(holder(2).sandbox) == ""

    def test_interfaces_of_one_container_are_sandboxes_of_their_own(self):
        ledger = seen(1, 2)
        one, two = holder(1), holder(1)
        two = type(two)(two.sandbox._replace(ifname="eth1"))
        for each in (one, two):
            ledger.apply(ledger.assign(each, now_s=0.0, at_limit=False))
        assert ledger.counts().assigned == 2

    def test_says_why_there_is_none(self):
        ledger = seen(1, 2, config(3, ready=False))
        assign(ledger, 1)
        assign(ledger, 2)
        unassign(ledger, 2)
        with pytest.raises(NoAddress, match="to pod shop/web: none of 3 on the NIC is free") as caught:
            ledger.assign(holder(9, pod_namespace="shop", pod_name="web"), now_s=1.0, at_limit=False)
        assert "(1 assigned, 1 cooling, 1 being programmed, 0 being released)" in str(caught.value)
        assert caught.value.cause == "PoolEmpty"

    def test_at_the_limit_the_longest_cooling_serves_after_a_while(self):
        ledger = seen(1, 2)
        for number, end_s in ((1, 10.0), (2, 5.0)):
            assign(ledger, number)
            unassign(ledger, number, now_s=end_s)
        soon_s, late_s = 5.0 + COOLING_AT_LIMIT_S - 0.1, 5.0 + COOLING_AT_LIMIT_S
        with pytest.raises(NoAddress) as caught:
            ledger.assign(holder(3), now_s=soon_s, at_limit=True)
        assert caught.value.cause == "NodeAtLimit"
        with pytest.raises(NoAddress):
            ledger.assign(holder(3), now_s=late_s, at_limit=False)
        assert assign(ledger, 3, now_s=late_s, at_limit=True) == address(2)

    def test_at_the_limit_a_free_one_is_preferred(self):
        ledger = seen(1, 2)
        assign(ledger, 1)
        unassign(ledger, 1)
        assert assign(ledger, 3, now_s=COOLING_AT_LIMIT_S, at_limit=True) == address(2)


class TestSeveral:
    """Addresses of one sandbox: they come together, change together and go together."""

    def test_all_or_none_are_assigned(self):
        ledger = seen(1, 2)
        with pytest.raises(NoAddress, match=r"cannot assign 3 addresses to .*: 2 of 2 on the NIC is free"):
            ledger.assign(holder(1), now_s=1.0, at_limit=False, count=3)
        ledger.apply(
            ledger.assign(holder(1), now_s=1.0, at_limit=False, count=2, link=LinkParameters(1500, address(4)))
        )
        assert [slot.address for slot in ledger.holding(holder(1).sandbox)] == [address(1), address(2)]
        assert not ledger.assign(holder(1), now_s=2.0, at_limit=False, count=2)
        assert ledger.counts().assigned == 2

    def test_at_the_limit_free_ones_are_taken_before_cooling_ones(self):
        ledger = seen(1, 2, 3)
        for number in (1, 2):
            assign(ledger, number)
            unassign(ledger, number, now_s=float(number))
        with pytest.raises(NoAddress):
            ledger.assign(holder(3), now_s=COOLING_AT_LIMIT_S + 1.0, at_limit=True, count=3)
        ledger.apply(ledger.assign(holder(3), now_s=COOLING_AT_LIMIT_S + 1.0, at_limit=True, count=2))
        assert {slot.address for slot in ledger.holding(holder(3).sandbox)} == {address(1), address(3)}

    def test_the_holder_and_the_link_change_on_all(self):
        ledger, later = seen(1, 2), LinkParameters(1500, address(9))
        ledger.apply(ledger.assign(holder(1), now_s=1.0, at_limit=False, count=2))
        ledger.apply(ledger.adapt(holder(1).sandbox, later))
        ledger.apply(ledger.hand_over(holder(1, pod_name="web")))
        held = ledger.holding(holder(1).sandbox)
        assert {(slot.holder.pod_name, slot.link) for slot in held} == {("web", later)}
        assert Ledger(ledger.slots).slots == ledger.slots

    @pytest.mark.parametrize(("way", "then"), [(Ledger.unassign, State.COOLING), (Ledger.abandon, State.FREE)])
    def test_all_go_together_and_one_that_the_nic_lost_is_forgotten(self, way, then):
        ledger = seen(1, 2, 3)
        ledger.apply(ledger.assign(holder(1), now_s=1.0, at_limit=False, count=3))
        ledger.apply(ledger.observe(view([1, 3]), now_s=2.0).change)
        ledger.apply(way(ledger, holder(1).sandbox, now_s=3.0))
        assert states(ledger) == {1: then, 3: then}


class TestTakeBack:
    def test_an_unknown_sandbox_is_nothing_to_do(self):
        ledger = seen(1)
        assert ledger.unassign(holder(1).sandbox, now_s=0.0) == Change()
        assert ledger.abandon(holder(1).sandbox, now_s=0.0) == Change()

    def test_it_cools_and_is_free_after(self):
        ledger = seen(1)
        assign(ledger, 1)
        unassign(ledger, 1, now_s=10.0)
        assert states(ledger) == {1: State.COOLING}
        assert ledger.next_cooled_at_s() == 10.0 + COOLING_S
        assert not ledger.cooled(now_s=10.0 + COOLING_S - 0.1)
        ledger.apply(ledger.cooled(now_s=10.0 + COOLING_S))
        assert states(ledger) == {1: State.FREE}
        assert ledger.next_cooled_at_s() is None

    def test_the_rest_may_be_set(self):
        ledger = Ledger(seen(1).slots, cooling_s=5.0)
        assign(ledger, 1)
        unassign(ledger, 1, now_s=10.0)
        assert ledger.next_cooled_at_s() == 15.0
        assert not ledger.cooled(now_s=14.9)
        assert ledger.cooled(now_s=15.0)

    def test_an_abandoned_one_is_free_at_once(self):
        ledger = seen(1)
        assign(ledger, 1)
        ledger.apply(ledger.abandon(holder(1).sandbox, now_s=1.0))
        assert states(ledger) == {1: State.FREE}
        assert not ledger.holding(holder(1).sandbox)

    @pytest.mark.parametrize("way", [Ledger.unassign, Ledger.abandon])
    def test_one_that_the_nic_lost_is_forgotten(self, way):
        ledger = seen(1)
        assign(ledger, 1)
        ledger.apply(ledger.observe(view(), now_s=1.0).change)
        ledger.apply(way(ledger, holder(1).sandbox, now_s=2.0))
        assert ledger.slots == ()

    @pytest.mark.parametrize("programmed", [False, True])
    def test_one_that_comes_back_to_the_nic_cools_first(self, programmed):
        ledger = seen(1)
        assign(ledger, 1)
        ledger.apply(ledger.observe(view([]), now_s=10.0).change)
        unassign(ledger, 1, now_s=20.0)
        if programmed:
            ledger.apply(ledger.observe(view([config(1, ready=False)]), now_s=25.0).change)
        for at_s in (30.0, 40.0):
            ledger.apply(ledger.observe(view([1]), now_s=at_s).change)
            assert ledger.find(address(1)) == Slot(address(1), config(1).name, State.COOLING, 30.0)
        ledger.apply(ledger.cooled(now_s=30.0 + COOLING_S))
        assert ledger.counts().free == 1


class TestObserve:
    def test_new_addresses_are_free_once_their_operation_succeeded(self):
        ledger = Ledger()
        first = ledger.observe(view([1, config(2, ready=False)], settled=False), now_s=1.0)
        ledger.apply(first.change)
        assert states(ledger) == {1: State.FREE, 2: State.PROGRAMMING}
        assert first.appeared == (address(1),)
        second = ledger.observe(view([1, 2]), now_s=2.0)
        ledger.apply(second.change)
        assert states(ledger) == {1: State.FREE, 2: State.FREE}
        assert second.appeared == (address(2),)

    def test_the_primary_and_addresses_not_chosen_yet_are_no_slots(self):
        unchosen = type(config(1))(config(1).name, None, primary=False, ready=False)
        assert seen(unchosen).slots == ()

    def test_the_same_again_is_no_change(self):
        ledger = seen(1, 2, 3)
        assign(ledger, 1)
        assert not ledger.observe(view([1, 2, 3]), now_s=9.0).change

    def test_a_nic_being_updated_takes_nothing_from_what_worked(self):
        ledger = seen(1, 2)
        assign(ledger, 1)
        updating = view([config(1, ready=False), config(2, ready=False)], settled=False)
        assert not ledger.observe(updating, now_s=9.0).change

    def test_what_vanishes_is_forgotten_unless_a_pod_has_it(self):
        ledger = seen(1, 2, config(3, ready=False))
        assign(ledger, 1)
        observation = ledger.observe(view(), now_s=5.0)
        ledger.apply(observation.change)
        assert observation.vanished == (address(1), address(2), address(3))
        assert [slot.address for slot in ledger.slots if not slot.on_nic] == [address(1)]
        assert ledger.counts() == Counts(
            allocated=0, assigned=1, free=0, cooling=0, programming=0, releasing=0, missing=1
        )
        again = ledger.observe(view(), now_s=6.0)
        assert again.vanished == ()
        assert not again.change
        back = ledger.observe(view([1]), now_s=7.0)
        ledger.apply(back.change)
        assert back.appeared == ()
        assert ledger.counts().missing == 0

    def test_what_was_chosen_to_leave_leaves_in_silence(self):
        ledger = seen(1, 2)
        ledger.apply(ledger.release([address(1)], now_s=1.0))
        observation = ledger.observe(view([2]), now_s=2.0)
        ledger.apply(observation.change)
        assert (observation.change.drop, observation.vanished) == ((address(1),), ())
        assert states(ledger) == {2: State.FREE}

    def test_what_may_still_leave_is_withheld_while_that_is_unknown(self):
        ledger = seen(1)
        ledger.apply(ledger.release([address(1)], now_s=1.0))
        assert not ledger.observe(view([1]), now_s=2.0, write_pending=True).change
        gone = ledger.observe(view([]), now_s=3.0, write_pending=True)
        assert gone.change.drop == (address(1),)

    def test_what_did_not_leave_stays_once_azure_has_settled(self):
        ledger = seen(1)
        ledger.apply(ledger.release([address(1)], now_s=1.0))
        assert not ledger.observe(view([1], settled=False), now_s=2.0).change
        observation = ledger.observe(view([1]), now_s=3.0)
        ledger.apply(observation.change)
        assert states(ledger) == {1: State.FREE}
        assert observation.appeared == ()


class TestRelease:
    @pytest.mark.parametrize("state", [State.ASSIGNED, State.COOLING])
    def test_nothing_that_a_pod_used_leaves(self, state):
        ledger = seen(1)
        assign(ledger, 1)
        if state is State.COOLING:
            unassign(ledger, 1)
        with pytest.raises(AzureCniError, match=f"cannot release 10.240.1.1: it is {state}"):
            ledger.release([address(1)], now_s=1.0)

    def test_a_releasing_one_is_not_assigned(self):
        ledger = seen(1)
        ledger.apply(ledger.release([address(1), address(77)], now_s=1.0))
        with pytest.raises(NoAddress, match="1 being released"):
            ledger.assign(holder(1), now_s=2.0, at_limit=True)


class TestLoad:
    def test_slots_are_in_address_order_however_they_came_and_changed(self):
        ledger = seen(9, 3)
        assert list(states(ledger)) == [3, 9]
        assign(ledger, 1)
        ledger.apply(ledger.observe(view([3, 9, 5, 1]), now_s=1.0).change)
        assert list(states(ledger)) == [1, 3, 5, 9]
        unassign(ledger, 1)
        ledger.apply(ledger.observe(view([9, 5, 4]), now_s=2.0).change)
        assert list(states(ledger)) == [4, 5, 9]

    def test_what_was_stored_is_there_again_in_address_order(self):
        ledger = seen(2, 1)
        assign(ledger, 1)
        assert Ledger(reversed(ledger.slots)).slots == ledger.slots
        assert [slot.address for slot in ledger.slots] == [address(1), address(2)]

    @pytest.mark.parametrize(
        ("rows", "words"),
        [
            (lambda s: [s(1, holder(1)), s(1, holder(2))], "it has 10.240.1.1 twice"),
            (
                lambda s: [s(1, holder(1)), s(2, Holder(Sandbox("storage", *holder(1).sandbox.interface)))],
                "10.240.1.1 and 10.240.1.2 are one interface's and have two holders: .*network='azure-cni'.*'storage'",
            ),
            (
                lambda s: [s(1, holder(1)), s(2, holder(1, pod_name="web"))],
                "two holders: .*pod_name=''.*'web'",
            ),
            (lambda s: [s(1, None)], "10.240.1.1 is assigned and held by None"),
        ],
    )
    def test_rows_that_contradict_each_other_are_refused(self, rows, words):
        def assigned(number, held_by):
            return Slot(address(number), config(number).name, State.ASSIGNED, 0.0, held_by)

        with pytest.raises(LedgerError, match=words):
            Ledger(rows(assigned))


class TestCounts:
    def test_are_added_up_once_between_two_changes(self):
        ledger = seen(1, 2)
        before = ledger.counts()
        assert ledger.counts() is before
        assign(ledger, 1)
        assert (before.assigned, ledger.counts().assigned, ledger.counts().free) == (0, 1, 1)
