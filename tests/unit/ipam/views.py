"""Short ways to say what a NIC shows and who holds what."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from azure_cni.ipam.ledger import Holder, Ledger, Sandbox
from azure_cni.model.nic import ConfigName, IPConfiguration, NicID, NicView

PRIMARY = IPConfiguration(ConfigName("ipconfig1"), IPv4Address("10.240.0.4"), primary=True, ready=True)


def address(number: int) -> IPv4Address:
    return IPv4Address("10.240.1.0") + number


def config(number: int, *, ready: bool = True, name: str | None = None) -> IPConfiguration:
    """One of our secondaries, unless it has another name."""
    return IPConfiguration(ConfigName(name or f"azure-cni-{number:08d}"), address(number), primary=False, ready=ready)


def block(number: int, *, size: int = 16, name: str | None = None) -> IPConfiguration:
    """One of our secondaries that holds several addresses, from this one on."""
    return replace(config(number, name=name), size=size)


def adopted(number: int) -> IPConfiguration:
    return config(number, name=f"other-{number}")


def view(configs: Iterable[int | IPConfiguration] = (), *, settled: bool = True) -> NicView:
    """A NIC with its primary and these secondaries; a bare number is a ready one that we made."""
    secondaries = tuple(config(item) if isinstance(item, int) else item for item in configs)
    return NicView(NicID("/nic"), 'W/"1"', settled, (PRIMARY, *secondaries))


def holder(number: int, **fields: str) -> Holder:
    return Holder(Sandbox("azure-cni", f"container-{number}", "eth0"), **fields)


def seen(*configs: int | IPConfiguration, now_s: float = 0.0) -> Ledger:
    """A ledger that has observed a NIC with these secondaries."""
    ledger = Ledger()
    ledger.apply(ledger.observe(view(configs), now_s=now_s).change)
    return ledger


def assign(ledger: Ledger, number: int, *, now_s: float = 0.0, at_limit: bool = False) -> IPv4Address:
    ledger.apply(ledger.assign(holder(number), now_s=now_s, at_limit=at_limit))
    (slot,) = ledger.holding(holder(number).sandbox)
    return slot.address


def unassign(ledger: Ledger, number: int, *, now_s: float = 0.0) -> None:
    ledger.apply(ledger.unassign(holder(number).sandbox, now_s=now_s))
