"""What is found wrong with a cluster: one line each, with who must do what, and the command that mends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from azure_cni.api.conditions import IDLE_RECALLED, NODE_AT_LIMIT, PoolKind
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import text
from azure_cni.diagnose.causes import PAGE, SCALE, Actor, Cause, cause_of, in_words, unchained
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.sizing_advice import sufficient_limit

ERROR: Final = "error"
WARNING: Final = "warning"


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that is wrong, with its stable `code`: the reason of a condition, or one of this page's own."""

    severity: str
    code: str
    about: str
    since: str
    message: str
    actor: str
    do: str
    command: str
    page: str
    node: str = ""
    """On which node the command is run, as root; "" for wherever kubectl, az and helm work."""


def cause_in(reason: str, evidence: ClusterEvidence, pool: NodeIPPool | None) -> Cause:
    """What is known of a reason, with the command that fits this case. `pool` is that of the node it is about."""
    cause = cause_of(reason)
    scarce = reason in {PoolKind.QUOTA_EXCEEDED, PoolKind.SUBNET_FULL}
    if scarce and pool is not None and pool.recalling >= max(1, pool.waiting):
        return cause_of(IDLE_RECALLED)  # as many as wait are on their way
    if reason == "AwaitingGrant" and not evidence.controllers and evidence.agents and evidence.knows("controllers"):
        return replace(cause, command=SCALE)
    if reason == NODE_AT_LIMIT and pool is not None and pool.grant_reason == NODE_AT_LIMIT:
        return replace(cause, command="kubectl edit vnetquota QUOTA")
    return cause


def names_in(evidence: ClusterEvidence, node: str = "") -> dict[str, str]:
    """What is put into the commands of a cause (`in_words`), for that node."""
    pool = evidence.pool(node)
    quota = evidence.quota(pool.vnet_id) if pool else None
    return {
        "node": node,
        "system": evidence.system,
        "quota": quota.name if quota else "",
        "limit": sufficient_limit(evidence, quota) if quota else "",
    }


def finding_of(
    severity: str, code: str, about: str, message: str, evidence: ClusterEvidence, *, node: str = "", since: str = ""
) -> Finding:
    """In the words of the cause that has this code, with the command for this node or for the cluster."""
    cause = cause_in(code, evidence, evidence.pool(node))
    return Finding(
        severity=severity,
        code=code,
        about=about,
        since=since,
        message=message,
        actor=cause.actor.value,
        do=cause.do,
        command=in_words(cause.command, **names_in(evidence, node), setting=unchained(message)),
        page=cause.page,
    )


def own_finding(severity: str, code: str, about: str, message: str, do: str, *, system: str) -> Finding:
    """One that no condition has."""
    page = f"{PAGE}#an-agent-does-not-become-ready-or-restarts"
    pods = "get pods -l app.kubernetes.io/name=azure-cni -L app.kubernetes.io/version -o wide"
    command = f"kubectl -n {system} {pods}"
    return Finding(severity, code, about, "", message, Actor.CLUSTER.value, do, command, page)


def of_condition(
    severity: str, about: str, condition: Mapping[str, Any], *, do: str, command: str, section: str
) -> Finding:
    """What a condition says, for the administrator of the cluster."""
    return Finding(
        severity=severity,
        code=text(condition.get("reason")),
        about=about,
        since=text(condition.get("lastTransitionTime")),
        message=text(condition.get("message")),
        actor=Actor.CLUSTER.value,
        do=do,
        command=command,
        page=f"{PAGE}#{section}",
    )


def of_near_limit(about: str, condition: Mapping[str, Any], *, system: str) -> Finding:
    """Of a condition that is False, and about to be True."""
    return of_condition(
        WARNING, about, condition, do="raise the limit, or find out what grows, before pods have to wait",
        command=in_words("azure-cni forecast", system=system), section="the-quota-of-a-vnet-is-exhausted",
    )  # fmt: skip
