"""Pods with a readiness gate for their load balancer pools: how the watch shows them, and what they were told."""

from __future__ import annotations

from typing import Any

from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED
from fakes.simulated_node import SimulatedNode, pod_body

GATES = [{"conditionType": LOAD_BALANCER_ATTACHED}]


def show(
    on: SimulatedNode, name: str, *, ip: str = "10.0.0.1", gated: bool = True, host: bool = False, **annotations: str
) -> None:
    """The watch shows the pod, with the condition that was written to it. `host`: it is on the node's network."""
    body: dict[str, Any] = pod_body(name, phase="Running", ip=ip, annotations=annotations)
    if host:
        body["spec"]["hostNetwork"] = True
    if gated:
        body["spec"]["readinessGates"] = GATES
    if (written := on.pod_conditions.written.get(name)) is not None:
        status = "True" if written.holds else "False"
        shown = {"type": written.type, "status": status, "reason": written.reason, "message": written.message}
        body["status"]["conditions"] = [{"type": "Ready", "status": "False"}, shown]
    on.demand.observe_pod(body)
    on.reconciler.wake()


def said(on: SimulatedNode, name: str = "web") -> tuple[bool, str]:
    condition = on.pod_conditions.written.get(name)
    return (False, "") if condition is None else (condition.holds, condition.reason)


def problems(on: SimulatedNode) -> dict[str, str]:
    """Warnings on pods, by reason."""
    return {it.reason: it.message for it in on.events.published if it.regarding["kind"] == "Pod"}
