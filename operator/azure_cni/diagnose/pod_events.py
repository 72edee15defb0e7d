"""What the events of a pod say of its network: the agent's own (`NoAddress`), and those of the kubelet.

The kubelet repeats what the runtime says, and the runtime what the plugin says. So an agent that
was reached has its own word for the cause at the end of that; and without an agent only the words of plugin and runtime
are there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.diagnose.causes import CAUSES
from azure_cni.diagnose.evidence import EventFacts

_SANDBOX: Final = (
    ("cannot reach the azure-cni agent", "AgentAway"),
    ("failed to find plugin", "PluginMissing"),
    ("this node cannot take a pod yet", "NodeNotReady"),
    ("cni plugin not initialized", "NodeNotReady"),
    ("cannot use the network configuration", "ConflistEdited"),
)
"""What the runtime's own event says, where the agent had no say."""
_OUR_PLUGIN: Final = re.compile(r'plugin type="azure-cni"(?: name="[^"]*")? failed \(add\): (.*)', re.DOTALL)
_OF_RUNTIME: Final = frozenset({"FailedCreatePodSandBox", "NetworkNotReady"})


@dataclass(frozen=True, slots=True)
class FoundCause:
    """A cause, the words of who says so, and since when (seconds since 1970)."""

    reason: str
    message: str = ""
    since_s: float | None = None
    command: str = ""
    """Instead of the cause's."""


def newest_of_network(events: Sequence[EventFacts]) -> FoundCause | None:
    """What the newest says; in the agent's own event where that, the older one, says the same in fewer words."""
    newest = newest_first(events)
    found = next(filter(None, map(_of_event, newest)), None)
    own = (_of_event(event) for event in newest if event.reason == "NoAddress")
    return next((one for one in own if found and one and one.reason == found.reason), found)


def newest_first(events: Sequence[EventFacts]) -> list[EventFacts]:
    """By when they were last seen."""
    return sorted(events, key=lambda event: event.last_s or 0.0, reverse=True)


def _of_event(event: EventFacts) -> FoundCause | None:
    """What an event of the pod says of its network, if anything."""
    if event.reason == "NoAddress":
        reason, _, message = event.message.partition(": ")
        return FoundCause(reason, message, event.first_s)
    if event.reason not in _OF_RUNTIME:
        return None
    known = next((reason for words, reason in _SANDBOX if words in event.message), "")
    if (ours := _OUR_PLUGIN.search(event.message)) and not known:
        said = ours[1]
        message, _, details = said.rstrip('"\\ ').rpartition("; ")  # libcni: the message, then our word for the cause
        message = message if details in CAUSES else said
        return FoundCause(details if details in CAUSES else "DatapathFailed", message, event.first_s)
    # A sandbox needs more than a network: an image, a runtime, a cgroup; and other plugins of the chain fail, too.
    return FoundCause(known, event.message, event.first_s) if known else not_ours(event)


def not_ours(event: EventFacts) -> FoundCause:
    """Something else keeps the pod waiting."""
    return FoundCause("NotOurs", f"{event.reason}: {event.message}", event.first_s)
