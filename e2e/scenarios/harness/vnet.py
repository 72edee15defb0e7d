"""The VNet's own features as a scenario orders them: for the time of a block, and away again after it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from azurebox.client import Box
from azurebox.guest import Guest
from azurebox.machine import NETNS
from azurebox.steps import capture
from scenarios.harness.pods import INSIDE, Pod, ask

SUBNET = "nodes"
WRITTEN_S = 120.0
GROUPS, TABLES, MEMBERSHIPS = "networkSecurityGroups", "routeTables", "applicationSecurityGroups"


def deny(name: str, priority: int, direction: str, **changes: Any) -> dict[str, Any]:
    """A rule that denies TCP from anywhere to anywhere, as far as `changes` do not say else."""
    return {
        "name": name,
        "properties": {
            "priority": priority,
            "direction": direction,
            "access": "Deny",
            "protocol": "Tcp",
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "*",
            **changes,
        },
    }


def let_in(port: int) -> dict[str, Any]:
    """A rule that lets TCP to this port in from the internet."""
    return {
        "name": "open",
        "properties": {
            "priority": 200,
            "direction": "Inbound",
            "access": "Allow",
            "protocol": "Tcp",
            "sourceAddressPrefix": "Internet",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": str(port),
        },
    }


@contextmanager
def security_group(
    box: Box, name: str, rules: Sequence[dict[str, Any]], *, subnet: str = "", nics: Sequence[str] = ()
) -> Iterator[None]:
    """A network security group with these rules on a subnet, or on NICs; whoever had one before has none after."""
    try:
        box.azure("PUT", f"/resources/{GROUPS}/{name}", {"properties": {"securityRules": list(rules)}})
        if subnet:
            box.azure("PATCH", f"/subnets/{subnet}", {"security_group": name})
        for nic in nics:
            _write_nic(box, nic, {"security_group": name})
        yield
    finally:
        if subnet:
            box.azure("PATCH", f"/subnets/{subnet}", {"security_group": ""})
        for nic in nics:
            _write_nic(box, nic, {"security_group": ""})
        box.azure("DELETE", f"/resources/{GROUPS}/{name}")


@contextmanager
def member(box: Box, group: str, nic: str) -> Iterator[str]:
    """A NIC, with all its configurations, in an application security group; the group's id."""
    try:
        made = box.azure("PUT", f"/resources/{MEMBERSHIPS}/{group}", {"properties": {}})
        _write_nic(box, nic, {"application_security_groups": [group]})
        yield str(made["id"])
    finally:
        _write_nic(box, nic, {"application_security_groups": []})
        box.azure("DELETE", f"/resources/{MEMBERSHIPS}/{group}")


@contextmanager
def route(box: Box, prefix: str, appliance: IPv4Address, *, subnet: str = SUBNET) -> Iterator[None]:
    """What leaves a subnet for a prefix goes to an appliance."""
    hop = {"addressPrefix": prefix, "nextHopType": "VirtualAppliance", "nextHopIpAddress": str(appliance)}
    routes = {"routes": [{"name": "through", "properties": hop}]}
    try:
        box.azure("PUT", f"/resources/{TABLES}/through", {"properties": routes})
        box.azure("PATCH", f"/subnets/{subnet}", {"route_table": "through"})
        yield
    finally:
        box.azure("PATCH", f"/subnets/{subnet}", {"route_table": ""})
        box.azure("DELETE", f"/resources/{TABLES}/through")


@contextmanager
def storage(box: Box, *, subnet: str = SUBNET) -> Iterator[None]:
    """A storage account that lets in one subnet, which has a service endpoint for it."""
    try:
        box.azure("PATCH", f"/subnets/{subnet}", {"service_endpoints": ["Microsoft.Storage"]})
        box.azure("PUT", "/storage/azboxdata", {"subnets": [subnet]})
        yield
    finally:
        box.azure("PUT", "/storage/azboxdata", {})
        box.azure("PATCH", f"/subnets/{subnet}", {"service_endpoints": []})


@contextmanager
def guest(name: str, *, subnet: str, forwards: bool = False) -> Iterator[tuple[Guest, IPv4Address]]:
    """A plain VM in a subnet, and its address."""
    made = Guest(name)
    try:
        yield made, made.ensure(subnet=subnet, forwards=forwards)
    finally:
        made.remove()


def ask_from(namespace: str, target: str) -> str:
    """What a target (HOST:PORT/PATH) answers to a host or a plain VM of the box; "!" and why, where it does not."""
    command = ["nsenter", f"--net={NETNS / namespace}", "--", "python3", "-c", INSIDE, "ask", target]
    return str(json.loads(capture(command, what=f"ask {target} from {namespace}"))[target])


def caller_seen(answer: str) -> str:
    """The caller that a test server (ADDRESS:PORT) or a host of the box (JSON) says it saw; "" for no answer."""
    if answer.startswith("!"):
        return ""
    return str(json.loads(answer)["caller"]) if answer.startswith("{") else answer.rpartition(":")[0].strip("[]")


def sees(box: Box, caller: Pod, host: IPv4Address | IPv6Address, *, port: int = 80, path: str = "whoami") -> str:
    """As whom a host sees a pod that calls; "" when they do not reach each other."""
    target = f"{host if host.version == 4 else f'[{host}]'}:{port}/{path}"
    return caller_seen(ask(box, caller, [target])[target])


def _write_nic(box: Box, nic: str, change: dict[str, Any]) -> None:
    """Another tool's write of a NIC, and wait until it has ended."""
    box.azure("PATCH", f"/nics/{nic}", change)

    def ended() -> bool:
        document = box.azure("GET", f"/nics/{nic}")
        return bool(document["properties"]["provisioningState"] == "Succeeded")

    box.wait_for(ended, WRITTEN_S, f"the write of {nic} to end")
