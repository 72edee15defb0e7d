"""Who is dead: the rules as a table, and which sandbox of a pod is the newest."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.model.nic import ConfigName
from azure_cni.node.pods.liveness import (
    GRACE_S,
    Facts,
    Occupancy,
    Presence,
    UnmetAdd,
    Verdict,
    judge,
    superseded,
    suspicion,
)

WIRED_HERE = Facts(wired=True, pod=Presence.HERE)
OLDER = replace(WIRED_HERE, superseded=True, suspected_s=GRACE_S)
PODLESS = Facts(wired=True, pod=Presence.ABSENT, suspected_s=GRACE_S, relisted=True)
GONE = Facts(wired=False, pod=Presence.ABSENT, suspected_s=GRACE_S)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        # The newest sandbox of a pod that is here, whatever else is so.
        (WIRED_HERE, Verdict.ALIVE),
        (replace(WIRED_HERE, occupancy=Occupancy.EMPTY, suspected_s=1e6, relisted=True), Verdict.ALIVE),
        (replace(WIRED_HERE, wired=False, suspected_s=1e6), Verdict.ALIVE),
        # Pods not listed yet: nothing is known of its absence.
        (replace(WIRED_HERE, pod=Presence.UNKNOWN, occupancy=Occupancy.EMPTY, suspected_s=1e6), Verdict.ALIVE),
        (replace(WIRED_HERE, pod=Presence.UNKNOWN, wired=False, suspected_s=1e6), Verdict.ALIVE),
        # No pod at all (cnitool, podman): alive while its link is there.
        (Facts(wired=True, pod=Presence.NO_POD, occupancy=Occupancy.EMPTY, suspected_s=1e6), Verdict.ALIVE),
        (Facts(wired=False, pod=Presence.NO_POD, suspected_s=GRACE_S - 1), Verdict.WAIT),
        (Facts(wired=False, pod=Presence.NO_POD, suspected_s=GRACE_S), Verdict.DEAD),
        # Of an engine that does not have it: like a pod that is gone.
        (replace(PODLESS, pod=Presence.FORGOTTEN, suspected_s=GRACE_S - 1, occupancy=Occupancy.EMPTY), Verdict.WAIT),
        (replace(PODLESS, pod=Presence.FORGOTTEN, relisted=False, occupancy=Occupancy.EMPTY), Verdict.LIST),
        (replace(PODLESS, pod=Presence.FORGOTTEN), Verdict.LOOK),
        (replace(PODLESS, pod=Presence.FORGOTTEN, occupancy=Occupancy.OCCUPIED), Verdict.OCCUPIED),
        (replace(PODLESS, pod=Presence.FORGOTTEN, occupancy=Occupancy.UNREADABLE), Verdict.UNDECIDED),
        (replace(PODLESS, pod=Presence.FORGOTTEN, occupancy=Occupancy.EMPTY), Verdict.DEAD),
        (replace(GONE, pod=Presence.FORGOTTEN, relisted=True), Verdict.DEAD),
        (replace(GONE, pod=Presence.FORGOTTEN, relisted=False), Verdict.LIST),
        # Its pod is gone.
        (replace(PODLESS, suspected_s=GRACE_S - 1, occupancy=Occupancy.EMPTY), Verdict.WAIT),
        (replace(PODLESS, relisted=False, occupancy=Occupancy.EMPTY), Verdict.LIST),
        (PODLESS, Verdict.LOOK),
        (replace(PODLESS, occupancy=Occupancy.OCCUPIED), Verdict.OCCUPIED),
        (replace(PODLESS, occupancy=Occupancy.UNREADABLE), Verdict.UNDECIDED),
        (replace(PODLESS, occupancy=Occupancy.EMPTY), Verdict.DEAD),
        (replace(GONE, suspected_s=GRACE_S - 1), Verdict.WAIT),
        (GONE, Verdict.DEAD),
        # Its pod has a newer sandbox: no list is needed to know that.
        (replace(OLDER, suspected_s=0.0), Verdict.WAIT),
        (OLDER, Verdict.LOOK),
        (replace(OLDER, pod=Presence.UNKNOWN), Verdict.LOOK),
        (replace(OLDER, occupancy=Occupancy.OCCUPIED), Verdict.OCCUPIED),
        (replace(OLDER, occupancy=Occupancy.UNREADABLE), Verdict.UNDECIDED),
        (replace(OLDER, occupancy=Occupancy.EMPTY), Verdict.DEAD),
        (replace(OLDER, wired=False), Verdict.DEAD),
    ],
)
def test_the_verdict(facts: Facts, verdict: Verdict) -> None:
    assert judge(facts) is verdict


def test_over_all_facts_only_what_is_empty_or_gone_is_dead_and_only_after_the_grace_time() -> None:
    for wired, superseded_, relisted in itertools.product((True, False), repeat=3):
        for pod, occupancy, suspected_s in itertools.product(Presence, Occupancy, (0.0, GRACE_S - 0.1, GRACE_S, 1e9)):
            facts = Facts(wired, pod, superseded_, suspected_s, relisted, occupancy)
            if judge(facts) is not Verdict.DEAD:
                continue
            assert suspected_s >= GRACE_S
            assert not wired or occupancy is Occupancy.EMPTY
            assert superseded_ or pod in {Presence.ABSENT, Presence.NO_POD, Presence.FORGOTTEN}
            assert superseded_ or relisted or (not wired and pod is not Presence.FORGOTTEN)
            assert suspicion(facts)


def slot(number: int, container: str, since_s: float, *, ifname: str = "eth0", pod: str = "p", uid: str = "u") -> Slot:
    holder = Holder(
        Sandbox("azure-cni", container, ifname), f"/run/netns/{container}", "default" if pod else "", pod, uid
    )
    return Slot(IPv4Address(f"10.240.0.{number}"), ConfigName("c"), State.ASSIGNED, since_s, holder)


@pytest.mark.parametrize(
    ("slots", "older"),
    [
        ([slot(1, "a", 1.0)], set()),
        ([slot(1, "a", 1.0), slot(2, "b", 2.0), slot(3, "c", 3.0)], {"a", "b"}),
        ([slot(1, "a", 1.0), slot(2, "b", 1.0)], set()),
        ([slot(1, "a", 1.0), slot(2, "b", 2.0, pod="q")], set()),
        ([slot(1, "a", 1.0), slot(2, "b", 2.0, uid="v")], set()),  # another pod of that name: see Presence
        # Two interfaces of one container are neither newer nor older; the second came late.
        ([slot(1, "a", 1.0), slot(2, "a", 9.0, ifname="net1")], set()),
        ([slot(1, "a", 1.0), slot(3, "b", 3.0), slot(2, "a", 9.0, ifname="net1")], {"a"}),
        # Containers without a pod have no newer ones.
        ([slot(1, "a", 1.0, pod="", uid=""), slot(2, "b", 2.0, pod="", uid="")], set()),
    ],
)
def test_which_sandboxes_have_a_newer_one(slots: list[Slot], older: set[str]) -> None:
    assert {holder.sandbox.container_id for holder in superseded(slots)} == older


@pytest.mark.parametrize(
    ("asked_s", "older"),
    [
        (9.0, {"a", "b"}),
        (2.0, {"a"}),  # the one that has an address by now asked then
        (1.5, {"a"}),  # what came after the ADD that found none
    ],
)
def test_an_add_that_found_no_address_is_a_newer_sandbox_than_those_before_it(asked_s: float, older: set[str]) -> None:
    slots = [slot(1, "a", 1.0), slot(2, "b", 2.0), slot(3, "c", 1.0, pod="q")]
    asked = {("default", "p", "u"): UnmetAdd("d", asked_s), ("default", "q", "of-another"): UnmetAdd("e", 9.0)}
    assert {holder.sandbox.container_id for holder in superseded(slots, asked)} == older


@pytest.mark.parametrize(("container", "older"), [("a", set()), ("b", {"a"})])
def test_an_add_for_a_further_interface_of_a_container_makes_it_no_newer_sandbox(
    container: str, older: set[str]
) -> None:
    slots = [slot(1, "a", 1.0), slot(2, "a", 9.5, ifname="net1")]
    asked = {("default", "p", "u"): UnmetAdd(container, 9.0)}
    assert {holder.sandbox.container_id for holder in superseded(slots, asked)} == older
