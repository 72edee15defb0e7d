"""What Azure answers, as errors of this product, with words for a person. Pure.

The HTTP status alone does not say it: not every 429 is throttling, a full subnet is a 400 or the end of an operation
that was answered 200, and the code that matters may stand in `details`. So all codes of an answer are looked at
together, the most telling first. Codes and wordings: azure-rest-api-specs, recorded traffic and public issue trackers.

Not every answer is Azure's. A proxy or a firewall answers with a page of its own, often 403: one without an error code
of Azure's, and without the headers that Azure always sends, is nobody's decision about the request.
"""

from __future__ import annotations

import re
from typing import Any, Final

from azure_cni.azure import api_versions, waits
from azure_cni.azure.answers import Answer, short
from azure_cni.azure.faults import BUSY, CHANGED, DENIED, LONGEST_WORDS, REMEDIES, SUBNET_FULL, THROTTLED, Fault
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
    VersionUnknown,
)

_LINKED = re.compile(r"not have permission to perform action(?:\(s\))? '([^']+)' on the linked scope\(s\) '([^']+)'")
_DIRECT = re.compile(r"authorization to perform action '([^']+)' over scope '([^']+)'")
_WHO = re.compile(r"object id '([^']+)'")
TOO_MANY: Final = 429


def from_answer(what: str, answer: Answer, *, now_s: float) -> CloudError:
    """The error for an answer that is not 2xx. `what` completes "cannot ..."; `now_s` is the wall clock."""
    fault = Fault.read(answer.json())
    wait_s = waits.in_headers(answer.headers, now_s=now_s)
    wait_s = waits.in_words(fault.message) if wait_s is None else wait_s
    if not fault.codes and not answer.is_azures:
        return _not_azures(what, answer, wait_s=wait_s)
    return from_fault(what, fault, status=answer.status, wait_s=wait_s)


def from_fault(what: str, fault: Fault, *, status: int, wait_s: float | None = None) -> CloudError:
    """The error for a request that Azure answered with this status and this fault."""
    known = _by_code(what, fault, wait_s=wait_s)
    if known is not None:
        return known
    if fault.has(api_versions.CODES) and (supported := api_versions.listed(fault.message)):
        text = f"cannot {what}: Azure does not support the API version ({fault.code}): {fault.words}"
        return VersionUnknown(text, supported=supported, azure_code=fault.code)
    if status in {401, 403} and not any(code in REMEDIES for code in fault.codes):
        return _denied(what, fault)
    return _by_status(what, fault, status=status, wait_s=wait_s)


def from_operation(what: str, *, status: str, error: Any) -> CloudError:
    """The error for an operation that was accepted and ended `status`, Failed or Canceled; `error` as its body has."""
    fault = Fault.read(error)
    known = _by_code(f"{what} (accepted, then {status})", fault, wait_s=waits.in_words(fault.message))
    if known is not None:
        return known
    text = f"cannot {what}: Azure accepted it, and it then ended {status} ({fault.code or 'no code'}): {fault.words}"
    return OperationFailed(text + fault.remedy, azure_code=fault.code)


def not_understood(what: str, answer: Answer, *, wanted: str) -> CloudUnreachable:
    """A good status, and a body that is not what it should be."""
    return CloudUnreachable(f"cannot {what}: the answer is not {wanted}{_who_else(answer)}")


def _not_azures(what: str, answer: Answer, *, wait_s: float | None) -> CloudError:
    text = f"cannot {what}: HTTP {answer.status} is not Azure's answer, it has no error code{_who_else(answer)}"
    if answer.status == TOO_MANY:
        return Throttled(text, retry_after_s=wait_s)
    return CloudUnreachable(text, retry_after_s=wait_s)


def _who_else(answer: Answer) -> str:
    """What is known of whoever answered, and what to look at."""
    said = f"it says: {answer.first_words}" if answer.first_words else "it is empty"
    sender = f" ({answer.sender})" if answer.sender else ""
    return (
        f"{sender}; {said}; does a proxy or a firewall answer in Azure's place? HTTPS_PROXY and NO_PROXY in "
        "agent.extraEnv and controller.extraEnv say who is asked"
    )


def _by_code(what: str, fault: Fault, *, wait_s: float | None) -> CloudError | None:
    """What the codes say, whatever the status."""
    if fault.has(SUBNET_FULL):
        text = f"cannot {what}: {fault.words} Free addresses in the subnet, or enlarge it."
        return SubnetFull(text, azure_code="SubnetIsFull")
    if fault.has(DENIED):
        return _denied(what, fault)
    if fault.has(CHANGED):
        return _changed(what, fault)
    if fault.has(BUSY):
        text = f"cannot {what}: another operation is under way ({fault.code}): {fault.words}"
        return ResourceBusy(text, azure_code=fault.code, retry_after_s=wait_s)
    if fault.has(THROTTLED):
        return _throttled(what, fault, status=TOO_MANY, wait_s=wait_s)
    return None


def _by_status(what: str, fault: Fault, *, status: int, wait_s: float | None) -> CloudError:
    """What is left when no code says more."""
    if status == 404:  # noqa: PLR2004
        text = f"cannot {what}: Azure does not find it, or hides it from this identity: {fault.words}"
        return CloudNotFound(text + fault.remedy, azure_code=fault.code)
    if status == 412:  # noqa: PLR2004
        return _changed(what, fault)
    if status == TOO_MANY:
        return _throttled(what, fault, status=status, wait_s=wait_s)
    if status >= 500 or status == 408:  # noqa: PLR2004
        text = f"cannot {what}: Azure answers HTTP {status} ({fault.code or 'no code'}): {fault.words}"
        return CloudUnreachable(text, azure_code=fault.code, retry_after_s=wait_s)
    text = f"cannot {what}: Azure refuses it ({fault.code or f'HTTP {status}'}): {fault.words}{fault.remedy}"
    return RequestRefused(text, azure_code=fault.code)


def _throttled(what: str, fault: Fault, *, status: int, wait_s: float | None) -> Throttled:
    wish = "" if wait_s is None else f"; Azure asks to wait {wait_s:.0f} s"
    text = f"cannot {what}: too many requests ({fault.code or status}){wish}"
    return Throttled(text, azure_code=fault.code, retry_after_s=wait_s)


def _changed(what: str, fault: Fault) -> PreconditionFailed:
    return PreconditionFailed(f"cannot {what}: somebody changed it since it was read", azure_code=fault.code)


def _denied(what: str, fault: Fault) -> AccessDenied:
    """Names the missing permission, where, and whose: what a role assignment needs."""
    found = _LINKED.search(fault.message) or _DIRECT.search(fault.message)
    if found is None:
        text = f"cannot {what}: Azure denies it to the agent's identity ({fault.code or 'no code'}): {fault.words}"
        return AccessDenied(text, azure_code=fault.code)
    action, scope = (short(text, most=LONGEST_WORDS) for text in found.groups())
    who = _WHO.search(fault.message)
    identity = f"the identity with object id {short(who.group(1), most=80)}" if who else "the agent's identity"
    text = (
        f"cannot {what}: {identity} lacks {action} on {scope}; "
        "assign it a role with that action there (a new assignment takes some minutes to work)"
    )
    return AccessDenied(text, action=action, scope=scope, azure_code=fault.code)
