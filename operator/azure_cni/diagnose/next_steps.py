"""What is tried next for a pod, and when: as its node's agent says, else its pool, else as always for that cause."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from azure_cni.api.introspection import NodeReport, WriteReport
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.diagnose.evidence import PodFacts
from azure_cni.diagnose.pod_features import next_attachment
from azure_cni.model.text import addresses, counted, time_text

KUBELET: Final = "the kubelet tries the pod again every 10 to 15 s"
"""`backOffPeriod` of the kubelet with its jitter."""
_ONCE_AN_AGENT: Final = f"{KUBELET}; it starts once an agent serves the node"
_WHEN_CHANGED: Final = "nothing before that is changed"
_AGAIN: Final = "the agent tries it again, after 15 minutes at the latest"

USUAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PoolPaused": "nothing while it is paused; what waits for a write of the NIC is done once the pause ends",
        "InvalidConfig": "nothing before the spec is corrected",
        "NodeAtLimit": f"{KUBELET}; it starts when the limit is raised, or when a pod of this node ends",
        "QuotaExceeded": f"the controller grants more as soon as the quota has it, and {KUBELET}",
        "WriteBudget": f"the controller answers the node in its turn, and {KUBELET}",
        "AwaitingGrant": f"any controller that works answers within seconds, and {KUBELET}",
        "EntryRefused": f"the controller tries the entry again within five minutes, and {KUBELET}",
        "VNetUnconfirmed": f"the controller asks Azure again each minute, and {KUBELET}",
        "NicChanged": f"the controller asks Azure again each minute, and {KUBELET}",
        "NicForeign": f"the controller asks Azure again each minute, and {KUBELET}",
        "NicUnknown": "nothing before the pool is made again",
        "PluginMissing": f"the agent looks for it every ten seconds, and {KUBELET}",
        "AgentAway": _ONCE_AN_AGENT,
        "AgentStarting": _ONCE_AN_AGENT,
        "NodeNotReady": _ONCE_AN_AGENT,
        "NoPool": _ONCE_AN_AGENT,
        "ConflistEdited": f"the agent writes it again within a minute, and {KUBELET}",
        "Unschedulable": "the scheduler tries again when pods or nodes change",
        "NoFreeAddresses": "the scheduler tries again when a node loses the taint, 15 s after it has room",
        "AddressesLost": "nothing: this pod cannot get an address that works",
        "AddressTwice": "nothing: two pods have it until one of them is deleted",
        "HostConflict": "the agent looks at the host again within a minute",
        "AttachmentInvalid": _WHEN_CHANGED,
        "AttachmentNotAllowed": _WHEN_CHANGED,
        "AttachmentNotAsked": _WHEN_CHANGED,
        "AttachmentHostNetwork": _WHEN_CHANGED,
        "AttachmentImpossible": _WHEN_CHANGED,
        "AttachmentNotFound": _AGAIN,
        "AttachmentDenied": _AGAIN,
        "AttachmentInUse": _AGAIN,
        "AttachmentRefused": _AGAIN,
        "AttachmentPending": "the agent attaches it with the next write of the NIC",
    }
)
"""By cause, where neither agent nor pool says more; all others wait for the kubelet's next try alone."""


def next_step(reason: str, pod: PodFacts, pool: NodeIPPool | None, report: NodeReport | None, *, now_s: float) -> str:
    """One sentence without a full stop. `reason` is the cause; `now_s` seconds since 1970."""
    if report and (words := next_attachment(pod, report)):
        return words
    for failure in report.failures if report else ():
        if failure.reason == reason != "InvalidConfig" and failure.retry_at:
            tries = counted(failure.attempts, "try", "tries")
            return f"the agent's next try ({failure.activity}) is at {failure.retry_at}, after {tries}"
    if pool is not None and pool.throttled_until_s > now_s:
        return f"Azure is asked again at {time_text(pool.throttled_until_s)}"
    if pool is not None and pool.grant_not_before_s is not None and pool.grant_not_before_s > now_s:
        return f"the request is answered at {time_text(pool.grant_not_before_s)} or later"
    if (usual := USUAL.get(reason)) is not None:
        return usual
    return (_of_write(report.next_write, reason) if report and not pod.addresses else "") or KUBELET


def _of_write(write: WriteReport, reason: str) -> str:
    """What the agent is about to do with the NIC; "" for nothing. What it waits for is the cause itself, or more."""
    if write.under_way:
        return f"Azure is at a write of the NIC, and {KUBELET}"
    if write.kind == "None":
        return ""
    more = f", {addresses(write.add)} more" if write.add else ""
    waits = "; ".join(words for words in write.waits if not words.startswith(f"{reason}: "))
    return f"the next write of the NIC: {write.kind}{more}{f'; what it waits for: {waits}' if waits else ''}"
