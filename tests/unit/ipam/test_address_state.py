from dataclasses import replace
from itertools import product

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import TRANSITIONS, Event, Slot, State, moved, observed
from azure_cni.model.attachments import AttachedResource
from unit.ipam.views import address, config, holder

POOL = AttachedResource.parse(
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/lb/backendAddressPools/web"
)
READS = {Event.READY, Event.PENDING, Event.ATTACHED, Event.EXCLUDED, Event.GONE}


def slot(state: State, *, on_nic: bool = True) -> Slot:
    return Slot(address(1), config(1).name, state, 10.0, holder(1) if state is State.ASSIGNED else None, on_nic)


@pytest.mark.parametrize(("state", "event"), [p for p in product(State, Event) if p not in TRANSITIONS])
def test_what_is_not_in_the_table_is_refused(state, event):
    with pytest.raises(AzureCniError, match=f"cannot {event} 10.240.1.1: it is {state}"):
        moved(slot(state), event, now_s=20.0)


def test_a_refusal_names_the_pod_that_holds_the_address():
    held = Slot(address(1), config(1).name, State.ASSIGNED, 0.0, holder(1, pod_namespace="shop", pod_name="web-0"))
    with pytest.raises(AzureCniError, match=r"cannot release 10\.240\.1\.1: it is assigned, held by pod shop/web-0"):
        moved(held, Event.RELEASE, now_s=1.0)


@pytest.mark.parametrize("state", State)
def test_every_state_knows_what_each_read_of_the_nic_means(state):
    assert all((state, event) in TRANSITIONS for event in READS)


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_reached_and_left(state):
    reached = {None}
    while (grown := reached | {after for (before, _), after in TRANSITIONS.items() if before in reached}) != reached:
        reached = grown
    assert state in reached
    assert any(after is not state for (before, _), after in TRANSITIONS.items() if before is state)


def test_only_an_assignment_assigns_and_only_free_or_cooling_addresses():
    ways = {(before, event) for (before, event), after in TRANSITIONS.items() if after is State.ASSIGNED}
    assert {event for before, event in ways if before is not State.ASSIGNED} == {Event.ASSIGN}
    assert {before for before, event in ways if event is Event.ASSIGN} == {State.FREE, State.COOLING}


def test_what_a_pod_used_becomes_free_only_by_cooling():
    assert {
        event for (before, event), after in TRANSITIONS.items() if (before, after) == (State.COOLING, State.FREE)
    } == {Event.COOLED}
    assert TRANSITIONS[State.ASSIGNED, Event.UNASSIGN] is State.COOLING


def test_a_transition_notes_its_time_and_an_event_without_one_keeps_it():
    assert moved(slot(State.FREE), Event.RELEASE, now_s=20.0) == Slot(address(1), config(1).name, State.RELEASING, 20.0)
    free = slot(State.FREE)
    assert moved(free, Event.READY, now_s=20.0) is free


def test_an_assigned_address_that_is_gone_stays_and_comes_back_when_it_is_ready():
    lost = moved(slot(State.ASSIGNED), Event.GONE, now_s=20.0)
    assert lost == slot(State.ASSIGNED, on_nic=False)
    assert moved(lost, Event.PENDING, now_s=30.0) == lost
    assert moved(lost, Event.READY, now_s=40.0) == slot(State.ASSIGNED)


@pytest.mark.parametrize(
    ("state", "ready", "after"),
    [
        (State.FREE, False, State.PROGRAMMING),  # not the configuration that once succeeded
        (State.FREE, True, State.FREE),
        (State.RELEASING, True, State.FREE),
        (State.ASSIGNED, True, State.ASSIGNED),
    ],
)
def test_a_configuration_of_another_name_is_another_one(state, ready, after):
    now = observed(address(1), slot(state), config(1, ready=ready, name="azure-cni-other000"), now_s=20.0)
    assert now is not None
    assert (now.state, now.config, now.on_nic) == (after, "azure-cni-other000", True)


def test_an_assigned_address_recreated_counts_again_once_it_is_ready():
    now = observed(address(1), slot(State.ASSIGNED), config(1, ready=False, name="azure-cni-other000"), now_s=20.0)
    assert now is not None
    assert (now.holder, now.on_nic) == (holder(1), False)


WITH_POOL = replace(config(1), attached=frozenset({POOL}))


@pytest.mark.parametrize("state", [State.FREE, State.PROGRAMMING, State.RELEASING, None])
def test_an_address_with_something_attached_is_not_free(state):
    before = slot(state) if state else None
    now = observed(address(1), before, WITH_POOL, now_s=20.0)
    assert now is not None
    assert (now.state, now.attached) == (State.PROGRAMMING, True)
    clean = observed(address(1), now, config(1), now_s=30.0)
    assert clean is not None
    assert (clean.state, clean.attached) == (State.FREE, False)


@pytest.mark.parametrize("state", [State.ASSIGNED, State.COOLING])
def test_a_read_that_need_not_show_all_ends_no_doubt(state):
    marked = replace(slot(state), attached=True)
    assert observed(address(1), marked, config(1), now_s=20.0, conclusive=False) == marked
    now = observed(address(1), marked, config(1), now_s=20.0)
    assert now == replace(slot(state), since_s=20.0 if state is State.COOLING else slot(state).since_s)


def test_that_a_write_which_attaches_has_worked_is_shown_by_a_nic_that_has_not_failed():
    marked = replace(slot(State.ASSIGNED), attached=True, attaching=True)
    for doubt in ({"failed": True}, {"conclusive": False}):
        assert observed(address(1), marked, WITH_POOL, now_s=20.0, **doubt) == marked
    assert observed(address(1), marked, WITH_POOL, now_s=20.0) == replace(marked, attaching=False)


def test_a_cooling_address_with_something_attached_is_not_freed():
    with pytest.raises(AzureCniError, match="still attached"):
        moved(replace(slot(State.COOLING), attached=True), Event.COOLED, now_s=200.0)
