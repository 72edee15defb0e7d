"""What a runtime decides about addresses that has its own address management: which one, and who it is for.

CNI leaves the choice to the plugin, unless a runtime names an address, and the ledger gives what has been free for
longest. Docker asks for an address before it says what for, may name the one that it wants, and hands it back after the
container is gone. These are
decisions about a `Ledger` from outside, as changes for it to apply.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from azure_cni.errors import EnvironmentInvalid, NoAddress
from azure_cni.ipam.address_state import Event, Holder, LinkParameters, Sandbox, State, moved
from azure_cni.ipam.ledger import Change, Ledger
from azure_cni.model.text import addresses, few


def claimed(
    ledger: Ledger, address: IPv4Address, holder: Holder, *, now_s: float, link: LinkParameters | None = None
) -> Change:
    """Give the holder's sandbox this very address. `link` is what it is about to be wired with.

    One that cools is given too: cooling keeps packets of the former holder from another one, and who names an address
    wants what is sent to it. That is mostly the same container, started again.

    NoAddress with cause `AddressNotOnNic` or `AddressInUse`; EnvironmentInvalid for an interface of another network.
    """
    ledger.require_interface(holder)
    slot = next((slot for slot in ledger.slots if slot.address == address), None)
    if slot is None or not slot.in_pool:
        pool = [slot.address for slot in ledger.slots if slot.in_pool]
        held = f"it holds {addresses(len(pool))} for containers" + (f": {few(pool)}" if pool else "")
        raise NoAddress(
            f"cannot assign {address}: this VM's NIC does not hold it for containers; {held}", cause="AddressNotOnNic"
        )
    if slot.state not in {State.FREE, State.COOLING}:
        whose = f" to {slot.holder}" if slot.holder else ""
        raise NoAddress(
            f"cannot assign {address}: it is {slot.state}{whose}; {free_ones(ledger)}", cause="AddressInUse"
        )
    if slot.attached:
        raise NoAddress(
            f"cannot assign {address}: what a pod had attached to it is not off it yet; try again in a minute",
            cause="AddressInUse",
        )
    after = moved(slot, Event.ASSIGN, now_s=now_s)
    return Change() if after is None else Change(put=(replace(after, holder=holder, link=link),))


def free_ones(ledger: Ledger) -> str:
    """What else somebody may name, as the end of a message."""
    free = [slot.address for slot in ledger.slots if slot.state in {State.FREE, State.COOLING} and not slot.attached]
    return f"free of the others: {few(free)}" if free else "no other is free"


def taken_over(ledger: Ledger, address: IPv4Address, sandbox: Sandbox, *, requested: str) -> Change:
    """Give the sandbox an address that is held under the network `requested`; a repeat changes nothing.

    EnvironmentInvalid where the address is another's or nobody's, or the interface has another address or network.
    """
    holder = next((slot.holder for slot in ledger.slots if slot.address == address), None)
    if holder is None:
        raise EnvironmentInvalid(f"cannot use {address}: it was not requested from azure-cni before")
    if holder.sandbox.network != requested and holder.sandbox != sandbox:
        raise EnvironmentInvalid(f"cannot use {address}: {holder} has it")
    if ledger.other_network(sandbox) or any(slot.address != address for slot in ledger.holding(sandbox)):
        raise EnvironmentInvalid(f"cannot use {address}: {sandbox.container_id[:13]} has another address already")
    return transferred(ledger, holder.sandbox, Holder(sandbox, holder.netns))


def transferred(ledger: Ledger, sandbox: Sandbox, holder: Holder) -> Change:
    """Name another holder for what a sandbox holds, with nothing else changed. Empty if that changes nothing."""
    held = ledger.holding(sandbox)
    return Change(put=tuple(replace(slot, holder=holder) for slot in held if slot.holder != holder))
