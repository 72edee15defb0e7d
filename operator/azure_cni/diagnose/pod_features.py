"""What a pod asks of the VNet beside its address, and has of it: pools, a public IP address, and egress.

The node's agent knows it best. Where it cannot be asked, the pod's condition says it, and else its newest event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.api.introspection import AttachmentReport, NodeReport
from azure_cni.diagnose.evidence import ENDED, EventFacts, PodFacts
from azure_cni.model.text import counted

_OF_ATTACHMENTS: Final = "Attachment"
_OF_EGRESS: Final = "Egress"
"""What the reasons of such events begin with."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """That something is not attached, and why: a cause, and the words of who knows."""

    reason: str
    message: str


def may_wait(pod: PodFacts) -> bool:
    """Whether, by the Pod alone, it waits for its address, or for something that it asks to have attached. Where it
    has no condition about that, only its events and its node's agent know.
    """
    if pod.phase in ENDED:
        return False
    if not (pod.addresses or pod.host_network):
        return True
    return pod.asks and not pod.ending and (pod.attached is None or not pod.attached.holds)


def lacks(pod: PodFacts, events: Sequence[EventFacts], report: NodeReport | None) -> Lacking | None:
    """What the pod asks for and has not got; None where it has all, or asks for nothing."""
    if not pod.asks:
        return None
    if (known := _of_agent(pod, report)) is not None:
        return None if known.done else Lacking(known.reason, known.message)
    if pod.attached is not None:
        return None if pod.attached.holds else Lacking(pod.attached.reason, pod.attached.message)
    newest = _newest(events, _OF_ATTACHMENTS)
    return None if newest is None else Lacking(newest.reason, newest.message)


def next_attachment(pod: PodFacts, report: NodeReport) -> str:
    """When what it lacks is tried next, or written; "" where the agent says nothing of that."""
    known = _of_agent(pod, report)
    if known is None or known.done:
        return ""
    if known.retry_at:
        return f"it is tried again at {known.retry_at}"
    if report.attachment_pace.next_at:
        return f"{_pace(report)}; the next is at {report.attachment_pace.next_at}, with all that waits"
    return ""


def vnet_notes(pod: PodFacts, events: Sequence[EventFacts], report: NodeReport | None) -> Iterator[str]:
    """What it has, as far as it asks for anything."""
    known = _of_agent(pod, report)
    if known is not None and known.done and pod.asks:
        yield known.message
    if refused := _newest(events, _OF_EGRESS):
        yield f"{refused.reason}: {refused.message}"
    own = None if report is None else [slot.own_egress for slot in report.slots if slot.uid == pod.uid]
    if own and (any(own) or pod.egress):
        whose = "its own" if any(own) else "the node's"
        yield f"what it sends out of the VNet has {whose} address"


def _pace(report: NodeReport) -> str:
    pace = report.attachment_pace
    at_once = counted(pace.at_once, "write")
    return f"the node changes what pods have attached in {at_once} at once, then in one each {pace.every_s:.0f} s"


def _of_agent(pod: PodFacts, report: NodeReport | None) -> AttachmentReport | None:
    return None if report is None else next((one for one in report.attachments if one.uid == pod.uid), None)


def _newest(events: Sequence[EventFacts], kind: str) -> EventFacts | None:
    found = [event for event in events if event.reason.startswith(kind)]
    return max(found, key=lambda event: event.last_s or 0.0, default=None)
