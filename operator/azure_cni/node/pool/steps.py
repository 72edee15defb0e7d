"""What a step of the plan is for the rest of the pool task: the write that it needs, and the activity that fails. Pure.

A write needs a grant for its intent (`WriteIntent`), and intents are few, because the ledger pays for them. Activities
are finer: each failure rests by itself, so what only one node's administrator can mend keeps no pod from an address.

    step        intent      activity
    Grow        Grow        GROW
    Recover     Grow        RECOVER
    Attach      Attach      ATTACH
    Shrink      Shrink      RELEASE
    Rewrite     Rewrite     REPAIR
    Regroup     Rewrite     GROUPS
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.ipam.plan import Attach, AwaitGrant, Grow, NoOp, Recover, Regroup, Rewrite, Shrink, Step, WaitForAzure
from azure_cni.model.nic import AttachmentChange
from azure_cni.node.pool.failures import Activity


def intent_of(step: Step) -> WriteIntent:
    """The write that the step needs, or would need once it is granted."""
    match step:
        case NoOp() | WaitForAzure():
            return WriteIntent.NONE
        case AwaitGrant() | Grow() | Recover():
            return WriteIntent.GROW
        case Attach():
            return WriteIntent.ATTACH
        case Shrink():
            return WriteIntent.SHRINK
        case Rewrite() | Regroup():
            return WriteIntent.REWRITE
        case _:
            assert_never(step)


def activity_of(step: Step, intent: WriteIntent) -> Activity:
    """What fails when the write of the step, by a grant for `intent`, does."""
    match step:
        case Recover() | AwaitGrant(recover=True):
            return Activity.RECOVER
        case Regroup():
            return Activity.GROUPS
        case _:
            return _ACTIVITY[intent]


def attached_by(step: Step) -> tuple[AttachmentChange, ...]:
    """What the step changes of what pods have attached."""
    match step:
        case Attach(changes=changes) | Grow(attach=changes):
            return changes
        case _:
            return ()


_ACTIVITY: Final[Mapping[WriteIntent, Activity]] = {
    WriteIntent.GROW: Activity.GROW,
    WriteIntent.SHRINK: Activity.RELEASE,
    WriteIntent.REWRITE: Activity.REPAIR,
    WriteIntent.ATTACH: Activity.ATTACH,
}
"""A failure of growth blocks growth alone: cleaning up after it must not wait, nor make growth look successful."""
