"""What is found wrong with a cluster: one line each, with who must do what, and the command that mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from azure_cni.api.reading import text
from azure_cni.diagnose.causes import PAGE, Actor, cause_of, in_words

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


def finding_of(severity: str, code: str, about: str, message: str, *, since: str = "", **names: str) -> Finding:
    """In the words of the cause that has this code; where there is none, the page's section says more."""
    cause = cause_of(code)
    return Finding(
        severity=severity,
        code=code,
        about=about,
        since=since,
        message=message,
        actor=cause.actor.value,
        do=cause.do,
        command=in_words(cause.command, **names),
        page=cause.page,
    )


def own_finding(severity: str, code: str, about: str, message: str, do: str) -> Finding:
    """One that no condition has."""
    page = f"{PAGE}#an-agent-does-not-become-ready-or-restarts"
    command = "kubectl -n kube-system get pods -l app.kubernetes.io/name=azure-cni -L app.kubernetes.io/version -o wide"
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


def of_near_limit(about: str, condition: Mapping[str, Any]) -> Finding:
    """Of a condition that is False, and about to be True."""
    return of_condition(
        WARNING, about, condition, do="raise the limit, or find out what grows, before pods have to wait",
        command="azure-cni forecast", section="the-quota-of-a-vnet-is-exhausted",
    )  # fmt: skip
