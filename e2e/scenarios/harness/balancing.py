"""Load balancers, public IP addresses and NAT gateways as an administrator sets them up, for the time of a block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from azurebox.client import Box

GATEWAY = "/nat-gateways/scenario-nat"
PROBED_S = 180.0  # a NIC write, and the probe that comes after it
WRITTEN_S = 120.0


@contextmanager
def nat_gateway(box: Box, *, subnet: str) -> Iterator[IPv4Address]:
    """A NAT gateway for a subnet; its public address."""
    made = box.azure("PUT", GATEWAY, {"subnets": [subnet]})
    try:
        yield IPv4Address(made["addresses"])
    finally:
        box.azure("DELETE", GATEWAY)


@contextmanager
def public_ip(box: Box, name: str) -> Iterator[IPv4Address]:
    """A public IP address that nothing has yet; by the end nothing has it any more."""
    made = box.azure("PUT", f"/public-ips/{name}", {})
    try:
        yield IPv4Address(made["address"])
    finally:
        box.azure("DELETE", f"/public-ips/{name}")


@contextmanager
def load_balancer(box: Box, name: str, **fields: Any) -> Iterator[IPv4Address]:
    """A load balancer with one rule by the fields of `fakeazure.adminbalancers.PutLoadBalancer`; its frontend."""
    box.azure("PUT", f"/load-balancers/{name}", fields)
    try:
        yield IPv4Address(_rule(box, name)["frontend"])
    finally:
        box.azure("DELETE", f"/load-balancers/{name}")


def join(box: Box, name: str, addresses: Sequence[IPv4Address]) -> None:
    """Put the ipConfigurations with these addresses into the pool, and wait until the probes find all of them up."""
    box.azure("POST", f"/load-balancers/{name}/join", {"addresses": [str(address) for address in addresses]})
    await_up(box, name, addresses)


def await_up(box: Box, name: str, addresses: Sequence[IPv4Address]) -> None:
    """Wait until these are the members that are up, and no others are."""
    wanted = {str(address) for address in addresses}
    box.wait_for(lambda: up(box, name) == wanted, PROBED_S, f"exactly {sorted(wanted)} to be up behind {name}")


def up(box: Box, name: str) -> set[str]:
    """The members of a load balancer's rule that are up."""
    return set(_rule(box, name)["up"].split())


@contextmanager
def assigned(box: Box, name: str, address: IPv4Address) -> Iterator[None]:
    """A public IP address on the ipConfiguration with this private address."""
    box.azure("POST", f"/public-ips/{name}/assign", {"address": str(address)})
    await_written(box)
    try:
        yield
    finally:
        box.azure("POST", f"/public-ips/{name}/assign", {"address": ""})
        await_written(box)


def await_written(box: Box) -> None:
    """Wait until no NIC is being written."""
    settled = {"Succeeded"}
    box.wait_for(
        lambda: {nic["state"] for nic in box.azure("GET", "/nics")} == settled, WRITTEN_S, "the NIC writes to end"
    )


def _rule(box: Box, name: str) -> dict[str, str]:
    return next(row for row in box.azure("GET", "/load-balancers") if row["name"] == name)
