"""Scheduled events: what the platform is about to do to a VM, and the VM's approval to start.

Fields: Azure documentation, "Scheduled Events for Linux VMs".
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass(slots=True)
class ScheduledEvents:
    """The event document of each VM, by its name; the incarnation rises with each change."""

    new_id: Callable[[], str]
    _by_vm: dict[str, tuple[int, list[Event]]] = field(default_factory=dict)

    def of(self, vm_name: str) -> tuple[int, list[Event]]:
        """The incarnation of a VM's document, and its events that are not over."""
        return self._by_vm.get(vm_name, (1, []))

    def announce(self, vm_name: str, kind: str, *, not_before: float) -> str:
        """Add an event that starts at that instant; gives its id."""
        incarnation, events = self.of(vm_name)
        event = {
            "EventId": self.new_id(),
            "EventType": kind,
            "ResourceType": "VirtualMachine",
            "Resources": [vm_name],
            "EventStatus": "Scheduled",
            "NotBefore": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(not_before)),
            "Description": f"{kind} of the virtual machine.",
            "EventSource": "Platform",
            "DurationInSeconds": 5 if kind == "Freeze" else -1,
        }
        self._by_vm[vm_name] = (incarnation + 1, [*events, event])
        return str(event["EventId"])

    def start(self, vm_name: str, event_ids: set[str]) -> None:
        """The VM has acknowledged these: they start."""
        incarnation, events = self.of(vm_name)
        started = [
            {**event, "EventStatus": "Started", "NotBefore": ""} if event["EventId"] in event_ids else event
            for event in events
        ]
        self._by_vm[vm_name] = (incarnation + 1, started)
