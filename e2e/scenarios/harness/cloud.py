"""The fake Azure as a test sets it up: faults for the time of a block, and what was written."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from azurebox.client import Box
from azurebox.facts import REPOSITORY

# Trouble with one write of a NIC; each must end with exactly the addresses that were asked for.
TROUBLES = (
    "touched",  # another tool wrote the NIC since it was read: 412
    "superseded",  # another tool wrote just after, with our change in its document
    "overwritten",  # and without
    "lost-reply",  # done, but the answer never came
    "lost-request",  # not done, and no answer either
    "stale-read",  # the read before it showed an older version
    "busy",  # 429, but because another operation holds the NIC
    "conflict",  # 409
    "subnet-full-late",  # accepted, then refused
    "fail",  # accepted, then failed: nothing of it is done
    "fail-half",  # half of it is done
    "fail-goal",  # the document shows all of it, and nothing works
)


@dataclass(frozen=True, slots=True)
class Write:
    """One accepted write of a NIC: how many addresses it held before and after, the primary included."""

    nic: str
    before: int
    after: int


class Cloud:
    """The fake Azure's side door, in the words of the scenarios."""

    def __init__(self, box: Box) -> None:
        self._box = box

    @contextmanager
    def fault(self, kind: str, *, at: str, **when: object) -> Iterator[None]:
        """A fault (`fakeazure.faultkinds`) at a NIC or VM: once, unless `when` says else; over with the block."""
        fault = self._box.azure("POST", "/faults", {"kind": kind, "resource": at, **when})
        try:
            yield
        finally:
            self._box.azure("DELETE", f"/faults/{fault['id']}")

    def in_force(self, at: str) -> list[str]:
        """The faults that are still to happen at a NIC or VM, by kind."""
        return [fault["kind"] for fault in self._box.azure("GET", "/faults") if fault["resource"] == at]

    def put_right(self) -> None:
        """No trouble is in force, and everybody may do what the documented role allows, and nothing else."""
        self._box.azure("DELETE", "/faults")
        self._box.azure("POST", "/give-back", {})
        self._box.azure("PUT", "/permissions", {"actions": documented_actions()})

    @contextmanager
    def without(self, action: str) -> Iterator[None]:
        """The role lacks one action while the block runs."""
        actions = documented_actions()
        assert action in actions, f"docs/azure-role.json does not have {action}"
        self._box.azure("PUT", "/permissions", {"actions": [other for other in actions if other != action]})
        try:
            yield
        finally:
            self._box.azure("PUT", "/permissions", {"actions": documented_actions()})

    @contextmanager
    def subnet_left_with(self, free: int) -> Iterator[None]:
        """Another tool takes all but that many addresses of the nodes' subnet, and gives them back in the end."""
        self._box.azure("POST", "/take", {"leave": free})
        try:
            yield
        finally:
            self._box.azure("POST", "/give-back", {})

    @contextmanager
    def public_address(self, address: IPv4Address, *, nic: str, ports: str) -> Iterator[IPv4Address]:
        """An administrator gives a public address to one on that NIC, and opens these ports to the internet."""
        rule = {
            "priority": 200,
            "direction": "Inbound",
            "access": "Allow",
            "protocol": "Tcp",
            "sourcePortRange": "*",
            "destinationPortRange": ports,
            "sourceAddressPrefix": "Internet",
            "destinationAddressPrefix": "*",
        }
        group, front = "/resources/networkSecurityGroups/scenario", "/public-ips/scenario"
        azure = self._box.azure
        with ExitStack() as stack:
            azure("PUT", group, {"properties": {"securityRules": [{"name": "open", "properties": rule}]}})
            stack.callback(azure, "DELETE", group)
            public = azure("PUT", front)["address"]
            stack.callback(azure, "DELETE", front)
            azure("PATCH", f"/nics/{nic}", {"security_group": "scenario"})
            stack.callback(azure, "PATCH", f"/nics/{nic}", {"security_group": ""})
            azure("POST", f"{front}/assign", {"address": str(address)})
            stack.callback(azure, "POST", f"{front}/assign", {"address": ""})
            yield IPv4Address(public)

    def requests(self) -> int:
        """How many writes of NICs were asked for, refused ones too."""
        calls: dict[str, int] = self._box.azure("GET", "/calls")
        return calls.get("nic.put", 0)

    def mark(self) -> int:
        """Now, for `writes`."""
        return len(self._changes(0))

    def writes(self, since: int) -> list[Write]:
        """The writes of NICs that were accepted after a mark, in order; one under way shows what it holds so far."""
        by_operation: dict[str, list[dict[str, Any]]] = {}
        for change in self._changes(since):
            if change["operation_id"]:
                by_operation.setdefault(change["operation_id"], []).append(change)
        return [
            Write(first["nic_id"].rpartition("/")[2], first["allocated_before"], last["allocated_after"])
            for first, *_, last in ((*changes[:1], *changes) for changes in by_operation.values())
        ]

    def _changes(self, since: int) -> list[dict[str, Any]]:
        return list(self._box.azure("GET", f"/changes?since={since}") or ())


def documented_actions() -> Sequence[str]:
    """The role of docs/azure-role.json."""
    actions: list[str] = json.loads((REPOSITORY / "docs" / "azure-role.json").read_text())["Actions"]
    return actions
