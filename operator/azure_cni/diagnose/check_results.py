"""What `check` answers: checks in groups, each with a code that never changes, its result, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

ASK_A_READER: Final = "have it run by someone who may read them"
"""What to do where something could not be read."""


class CheckResult(StrEnum):
    """Of one check."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"
    """What it looks at could not be read."""


class ClusterCheck(msgspec.Struct, frozen=True, rename="camel"):
    """One check: what was looked at, what was found, and what to do where it is not good."""

    group: str
    code: str
    result: CheckResult
    message: str
    do: str = ""
    page: str = ""
    command: str = ""
    """What mends it, for a shell, with the names of this case; "" where a person has to decide."""
    node: str = ""
    """On which node the command is run, as root; "" for wherever kubectl, az and helm work."""


class CheckList(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `check`."""

    checks: list[ClusterCheck]
    unread: list[str]
    notes: list[str] = []
    """What was not looked at, and how it can be."""

    @property
    def worst(self) -> CheckResult:
        """The worst result of all; one that is unknown may be bad."""
        results, order = {check.result for check in self.checks}, (CheckResult.BAD, CheckResult.UNKNOWN)
        return next((one for one in (*order, CheckResult.WARNING) if one in results), CheckResult.GOOD)


def unknown_check(check: ClusterCheck, unread: str) -> ClusterCheck:
    """The same check where what it looks at could not be read."""
    message = f"{unread} could not be read"
    return ClusterCheck(check.group, check.code, CheckResult.UNKNOWN, message, ASK_A_READER, check.page)


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One setting of another program that does not fit azure-cni, or of azure-cni that does not fit it."""

    message: str
    do: str
    command: str = ""
    result: CheckResult = CheckResult.BAD
    node: str = ""


def fault_checks(code: str, page: str, well: str, faults: Iterable[SettingFault]) -> list[ClusterCheck]:
    """One check for each fault; one that is good, and says `well`, where there is none.

    A fault that several pods of one workload show is one.
    """
    found = [
        ClusterCheck("cluster", code, one.result, one.message, one.do, page, one.command, one.node)
        for one in dict.fromkeys(faults)
    ]
    return found or [ClusterCheck("cluster", code, CheckResult.GOOD, well, page=page)]
