"""Addresses that a runtime names itself, and hands from one sandbox to the next."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import EnvironmentInvalid, NoAddress
from azure_cni.ipam.address_state import Holder, LinkParameters, Sandbox, Slot, State
from azure_cni.ipam.claims import claimed, taken_over, transferred
from azure_cni.ipam.ledger import Change, Ledger
from azure_cni.model.nic import ConfigName

FREE, COOLING, HELD, COMING, LOST, UNKNOWN, ATTACHED = (IPv4Address(f"10.240.0.{last}") for last in range(5, 12))
LINK = LinkParameters(1500, IPv4Address("10.240.0.4"))
ME, OTHER = Holder(Sandbox("net1", "me", "eth")), Holder(Sandbox("net1", "other", "eth"))


def slot(address: IPv4Address, state: State, holder: Holder | None = None, *, on_nic: bool = True) -> Slot:
    return Slot(address, ConfigName(f"c{address}"), state, 10.0, holder, on_nic)


def ledger() -> Ledger:
    return Ledger(
        (
            slot(FREE, State.FREE),
            slot(COOLING, State.COOLING),
            slot(HELD, State.ASSIGNED, OTHER),
            slot(COMING, State.PROGRAMMING),
            slot(LOST, State.ASSIGNED, Holder(Sandbox("net1", "lost", "eth")), on_nic=False),
            replace(slot(ATTACHED, State.COOLING), attached=True),
        )
    )


@pytest.mark.parametrize("address", [FREE, COOLING])
def test_a_free_address_is_given_and_one_that_cools_too(address: IPv4Address) -> None:
    books = ledger()
    books.apply(claimed(books, address, ME, now_s=20.0, link=LINK))
    (held,) = books.holding(ME.sandbox)
    assert (held.address, held.state, held.since_s, held.link) == (address, State.ASSIGNED, 20.0, LINK)


@pytest.mark.parametrize(
    ("address", "cause", "words"),
    [
        (HELD, "AddressInUse", "it is assigned to container other"),
        (COMING, "AddressInUse", "it is programming"),
        (ATTACHED, "AddressInUse", "what a pod had attached to it"),
        (LOST, "AddressNotOnNic", "it holds 5 addresses for containers: 10.240.0.5, "),
        (UNKNOWN, "AddressNotOnNic", "does not hold it"),
    ],
)
def test_no_other(address: IPv4Address, cause: str, words: str) -> None:
    with pytest.raises(NoAddress, match=words) as raised:
        claimed(ledger(), address, ME, now_s=20.0)
    assert raised.value.cause == cause


def test_what_was_requested_goes_to_the_sandbox_that_it_was_for_and_a_repeat_changes_nothing() -> None:
    books = ledger()
    books.apply(claimed(books, FREE, Holder(Sandbox("requested", "1", "eth")), now_s=20.0))
    books.apply(taken_over(books, FREE, ME.sandbox, requested="requested"))
    assert books.holding(ME.sandbox)[0].address == FREE
    assert taken_over(books, FREE, ME.sandbox, requested="requested") == Change()


@pytest.mark.parametrize(
    ("address", "words"),
    [(UNKNOWN, "not requested"), (FREE, "not requested"), (HELD, "container other has it")],
)
def test_nothing_else_is_taken_over(address: IPv4Address, words: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=words):
        taken_over(ledger(), address, ME.sandbox, requested="requested")


def test_a_sandbox_has_one_address() -> None:
    books = ledger()
    books.apply(claimed(books, FREE, Holder(Sandbox("requested", "1", "eth")), now_s=20.0))
    with pytest.raises(EnvironmentInvalid, match="has another address already"):
        taken_over(books, FREE, OTHER.sandbox, requested="requested")


def test_a_transfer_changes_the_holder_and_nothing_else() -> None:
    books = ledger()
    before = books.holding(OTHER.sandbox)
    books.apply(transferred(books, OTHER.sandbox, ME))
    (after,) = books.holding(ME.sandbox)
    assert (after.address, after.since_s, after.holder) == (before[0].address, before[0].since_s, ME)
    assert books.holding(OTHER.sandbox) == ()
    assert transferred(books, OTHER.sandbox, ME) == Change()
