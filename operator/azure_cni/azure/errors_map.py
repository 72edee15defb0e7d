"""What Azure answers, as errors of this product, with words for a person. Pure.

The HTTP status alone does not tell: not every 429 is throttling, a full subnet is a 400 or the end of an operation
that was answered 200, and the code that matters may stand in `details`. So all codes of an answer are looked at
together, the most telling first. Codes and wordings: azure-rest-api-specs, recorded traffic and public issue trackers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    CloudUnreachable,
    OperationFailed,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
)

SUBNET_FULL: Final = frozenset({"SubnetIsFull"})
BUSY: Final = frozenset({
    "RetryableError",
    "RetryableErrorDueToAnotherOperation",
    "ReferencedResourceNotProvisioned",
    "AnotherOperationInProgress",
    "CanceledAndSupersededDueToAnotherOperation",
    "OperationPreempted",
    "Conflict",
})  # fmt: skip
DENIED: Final = frozenset({
    "AuthorizationFailed",
    "LinkedAuthorizationFailed",
    "AuthenticationFailed",
    "InvalidAuthenticationToken",
    "ExpiredAuthenticationToken",
    "InvalidAuthenticationTokenTenant",
})  # fmt: skip
CHANGED: Final = frozenset({"PreconditionFailed", "PreconditionFailedEtagMismatch"})
BY_POLICY: Final = frozenset({"RequestDisallowedByPolicy", "RequestDisallowedByAzure", "ReadOnlyDisabledSubscription"})

_LINKED = re.compile(r"not have permission to perform action(?:\(s\))? '([^']+)' on the linked scope\(s\) '([^']+)'")
_DIRECT = re.compile(r"authorization to perform action '([^']+)' over scope '([^']+)'")
_WHO = re.compile(r"object id '([^']+)'")
LONGEST_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class Fault:
    """One error as Azure tells it: `codes` with that of the top first, then those of its details; `message` whole."""

    codes: tuple[str, ...]
    message: str

    @property
    def code(self) -> str:
        """Azure's own word for it, "" when it has none."""
        return self.codes[0] if self.codes else ""

    @property
    def words(self) -> str:
        """The message, short enough to be read."""
        return self.message if len(self.message) <= LONGEST_WORDS else f"{self.message[:LONGEST_WORDS]}..."

    def has(self, codes: frozenset[str]) -> bool:
        """Whether any of its codes is one of these."""
        return not codes.isdisjoint(self.codes)

    @classmethod
    def read(cls, body: Any) -> Fault:
        """From `{"error": {...}}`, the bare error, or whatever a proxy sent."""
        error = body.get("error", body) if isinstance(body, Mapping) else None
        if not isinstance(error, Mapping):
            return cls((), str(body or "no reason given"))
        parts = list(_parts(error))
        codes = tuple(dict.fromkeys(str(part["code"]) for part in parts if part.get("code")))
        messages = dict.fromkeys(str(part["message"]).strip() for part in parts if part.get("message"))
        return cls(codes, " ".join(messages) or "no reason given")


def from_response(what: str, *, status: int, body: Any, retry_after_s: float | None = None) -> CloudError:
    """The error for an answer of 400 or more. `what` completes "cannot ..."; `body` is the decoded document."""
    fault = Fault.read(body)
    known = _by_code(what, fault, retry_after_s=retry_after_s)
    if known is not None:
        return known
    if status in {401, 403} and not fault.has(BY_POLICY):
        return _denied(what, fault)
    return _by_status(what, fault, status=status, retry_after_s=retry_after_s)


def from_operation(what: str, *, status: str, body: Any) -> CloudError:
    """The error for an operation that was accepted and ended `status`, Failed or Canceled."""
    fault = Fault.read(body.get("error") if isinstance(body, Mapping) else body)
    known = _by_code(what, fault, retry_after_s=None)
    if known is not None:
        return known
    text = f"cannot {what}: Azure accepted it, and it then ended {status} ({fault.code or 'no code'}): {fault.words}"
    return OperationFailed(text, azure_code=fault.code)


def _by_code(what: str, fault: Fault, *, retry_after_s: float | None) -> CloudError | None:
    """What the codes tell, whatever the status."""
    if fault.has(SUBNET_FULL):
        text = f"cannot {what}: {fault.words} Free addresses in the subnet, or enlarge it."
        return SubnetFull(text, azure_code="SubnetIsFull")
    if fault.has(DENIED):
        return _denied(what, fault)
    if fault.has(CHANGED):
        return _changed(what, fault)
    if fault.has(BUSY):
        text = f"cannot {what}: another operation is under way ({fault.code}): {fault.words}"
        return ResourceBusy(text, azure_code=fault.code, retry_after_s=retry_after_s)
    return None


def _by_status(what: str, fault: Fault, *, status: int, retry_after_s: float | None) -> CloudError:
    """What is left when no code tells."""
    if status == 404:  # noqa: PLR2004
        text = f"cannot {what}: Azure does not find it, or hides it from this identity: {fault.words}"
        return CloudNotFound(text, azure_code=fault.code)
    if status == 412:  # noqa: PLR2004
        return _changed(what, fault)
    if status == 429:  # noqa: PLR2004
        wish = "" if retry_after_s is None else f"; Azure asks to wait {retry_after_s:.0f} s"
        text = f"cannot {what}: too many requests ({fault.code or status}){wish}"
        return Throttled(text, azure_code=fault.code, retry_after_s=retry_after_s)
    if status >= 500 or status == 408:  # noqa: PLR2004
        text = f"cannot {what}: Azure answers HTTP {status} ({fault.code or 'no code'}): {fault.words}"
        return CloudUnreachable(text, azure_code=fault.code, retry_after_s=retry_after_s)
    text = f"cannot {what}: Azure refuses it ({fault.code or f'HTTP {status}'}): {fault.words}"
    return RequestRefused(text, azure_code=fault.code)


def _changed(what: str, fault: Fault) -> PreconditionFailed:
    return PreconditionFailed(f"cannot {what}: somebody changed it since it was read", azure_code=fault.code)


def _denied(what: str, fault: Fault) -> AccessDenied:
    """Names the missing permission, where, and whose: what a role assignment needs."""
    found = _LINKED.search(fault.message) or _DIRECT.search(fault.message)
    if found is None:
        text = f"cannot {what}: Azure denies it to the agent's identity ({fault.code or 'no code'}): {fault.words}"
        return AccessDenied(text, azure_code=fault.code)
    action, scope = found.groups()
    who = _WHO.search(fault.message)
    identity = f"the identity with object id {who.group(1)}" if who else "the agent's identity"
    text = (
        f"cannot {what}: {identity} lacks {action} on {scope}; "
        "assign it a role with that action there (a new assignment takes some minutes to work)"
    )
    return AccessDenied(text, action=action, scope=scope, azure_code=fault.code)


def _parts(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The error, then its details and theirs."""
    yield error
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            yield from _parts(detail)
