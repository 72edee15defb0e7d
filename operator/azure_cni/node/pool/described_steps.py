"""The write of a step as `azure-cni plan` shows it: what it changes on the NIC, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from azure_cni.api import introspection as report
from azure_cni.ipam.limits import ATTACH_WRITE_S, ATTACH_WRITES_AT_ONCE
from azure_cni.ipam.plan import Attach, AwaitGrant, Grow, NoOp, Recover, Regroup, Rewrite, Shrink, Step, WaitForAzure
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from azure_cni.model.text import addresses, counted
from azure_cni.node.pool.nic_writer import groups_wanted


def describe_step(step: Step, *, held: int, target: int) -> report.WriteReport:
    """The write of a step: what it changes on the NIC, and why."""
    match step:
        case NoOp():
            return report.WriteReport(why=f"{addresses(held)} on the NIC, as wanted")
        case WaitForAzure():
            return report.WriteReport(why="not decided while Azure works on the NIC")
        case AwaitGrant(requested):
            why = f"{held} on the NIC, {target} wanted"
            return report.WriteReport(kind="Grow", add=max(0, requested - held), why=why)
        case Grow() | Recover():
            why = f"{held} on the NIC, {target} wanted" if isinstance(step, Grow) else step.reason
            return report.WriteReport(kind="Grow", add=step.add, why=why)
        case Shrink(names, leaving, reason):
            return report.WriteReport(kind="Shrink", remove=_removals(names, leaving), why=reason)
        case Attach() | Rewrite() | Regroup():
            why = groups_wanted(step.groups) if isinstance(step, Regroup) else step.reason
            return report.WriteReport(kind="Attach" if isinstance(step, Attach) else "Rewrite", why=why)
        case _:
            assert_never(step)


def describe_paced(*, not_before: str, waits: Sequence[str]) -> report.WriteReport:
    """The write for attachments that waits for the node's pace, and for all else in `waits`."""
    pace = (
        f"the node's pace for attachments: {ATTACH_WRITES_AT_ONCE} writes at once, then one each {ATTACH_WRITE_S:.0f} "
        "s; all that pods ask for meanwhile goes in the next"
    )
    why = "what pods have attached is to be changed"
    return report.WriteReport(kind="Attach", why=why, not_before=not_before, waits=[*waits, pace])


def describe_changes(changes: Iterable[AttachmentChange], view: NicView | None) -> list[report.ChangeReport]:
    """In the order of addresses; a configuration that shows none goes by its name."""
    shown = {} if view is None else {ConfigName(one.name): str(one.address or "") for one in view.all_secondaries}
    described = [
        report.ChangeReport(
            address=shown.get(change.config) or change.config,
            add=[str(resource) for resource in sorted(change.add)],
            remove=[str(resource) for resource in sorted(change.remove)],
        )
        for change in changes
    ]
    return sorted(described, key=lambda one: one.address)


def _removals(names: Sequence[str], leaving: Sequence[object]) -> list[report.RemovalReport]:
    """One line each; a configuration of several addresses has no line of its own for each name."""
    if len(names) != len(leaving):
        return [report.RemovalReport(str(address), counted(len(names), "ipConfiguration")) for address in leaving]
    return [report.RemovalReport(str(address), name) for name, address in zip(names, leaving, strict=True)]
