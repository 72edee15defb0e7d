"""Maps Azure's answers to the errors of this product, with messages for a person. Pure.

The HTTP status alone is not enough: not every 429 is throttling, a full subnet is a 400 or the end of an operation that
was answered 200, and the code that matters may be in `details`. So all codes of an answer are considered, the most
specific first. Codes and wordings: azure-rest-api-specs, recorded traffic and public issue trackers.

Not every answer is Azure's. A proxy or a firewall answers with its own page, often 403. An answer without an Azure
error code and without the headers that Azure always sends decides nothing about the request.

Without any answer, either the network failed or there is no token. The SDK raises one exception both for an identity
that does not exist and for a token service that is silent. Its cause shows which: the first needs a person, the second
only time.
"""

from __future__ import annotations

import re
from typing import Any, Final

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from azure_cni.azure import api_versions
from azure_cni.azure.answers import ArmAnswer, short
from azure_cni.azure.error_bodies import (
    BUSY,
    CHANGED,
    DENIED,
    LONGEST_WORDS,
    NO_INSTANCE,
    REMEDIES,
    SUBNET_FULL,
    THROTTLED,
    Fault,
)
from azure_cni.azure.throttle_gate import wait_in_headers, wait_in_words
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
from azure_cni.model.identity import assignable

_LINKED = re.compile(r"not have permission to perform action(?:\(s\))? '([^']+)' on the linked scope\(s\) '([^']+)'")
_DIRECT = re.compile(r"authorization to perform action '([^']+)' over scope '([^']+)'")
_WHO = re.compile(r"object id '([^']+)'")
TOO_MANY: Final = 429
UNREACHABLE: Final = "unreachable"
NO_TOKEN: Final = "NoToken"  # noqa: S105  # a word for metrics
SEVERAL: Final = "multiple user assigned identities"
"""Part of the metadata service's message, in lower case, when the VM has several identities and none was named."""
REFUSALS: Final = frozenset({400, 401, 403})


def from_answer(what: str, answer: ArmAnswer, *, now_s: float) -> CloudError:
    """The error for an answer that is not 2xx. `what` completes "cannot ..."; `now_s` is the wall clock."""
    fault = Fault.read(answer.json())
    wait_s = wait_in_headers(answer.headers, now_s=now_s)
    wait_s = wait_in_words(fault.message) if wait_s is None else wait_s
    if not fault.codes and not answer.is_azures:
        return _not_azures(what, answer, wait_s=wait_s)
    return from_fault(what, fault, status=answer.status, wait_s=wait_s)


def from_fault(what: str, fault: Fault, *, status: int, wait_s: float | None = None) -> CloudError:
    """The error for a request that Azure answered with this status and this fault."""
    mapped = _by_code(what, fault, wait_s=wait_s)
    if mapped is not None:
        return mapped
    if fault.has(api_versions.CODES) and (supported := api_versions.listed(fault.message)):
        text = f"cannot {what}: Azure does not support the API version ({fault.code}): {fault.words}"
        return VersionUnknown(text, supported=supported, azure_code=fault.code)
    if status in {401, 403} and not any(code in REMEDIES for code in fault.codes):
        return _denied(what, fault)
    return _by_status(what, fault, status=status, wait_s=wait_s)


def from_operation(what: str, *, status: str, error: Any) -> CloudError:
    """The error for an operation that was accepted and ended `status`, Failed or Canceled; `error` as its body has."""
    fault = Fault.read(error)
    mapped = _by_code(f"{what} (accepted, then {status})", fault, wait_s=wait_in_words(fault.message))
    if mapped is not None:
        return mapped
    text = f"cannot {what}: Azure accepted it, and it then ended {status} ({fault.code or 'no code'}): {fault.words}"
    return OperationFailed(text + fault.remedy, azure_code=fault.code)


def too_large(what: str, limit: int) -> CloudUnreachable:
    """An answer of more bytes than the resource manager sends."""
    return CloudUnreachable(f"cannot {what}: the answer has more than {limit >> 20} MiB; is there a proxy in between?")


def not_understood(what: str, answer: ArmAnswer, *, wanted: str) -> CloudUnreachable:
    """A good status, and a body that is not what it should be."""
    return CloudUnreachable(f"cannot {what}: the answer is not {wanted}{_who_else(answer)}")


def unanswered(error: AzureError | OSError | ValueError, *, what: str, endpoint: str) -> CloudError:
    """The error for a request that was not answered, or could not even be sent."""
    if isinstance(error, ClientAuthenticationError):
        return _no_token(error, what=what)
    said = str(error) or type(error).__name__
    if not isinstance(error, OSError):
        return CloudUnreachable(f"cannot {what}: no answer from {endpoint}: {said}", azure_code=UNREACHABLE)
    text = f"cannot {what}: no token for the agent's identity: {said}; is the service account's token mounted?"
    return AccessDenied(text, azure_code=NO_TOKEN)


def _not_azures(what: str, answer: ArmAnswer, *, wait_s: float | None) -> CloudError:
    text = f"cannot {what}: HTTP {answer.status} is not Azure's answer, it has no error code{_who_else(answer)}"
    if answer.status == TOO_MANY:
        return Throttled(text, retry_after_s=wait_s)
    return CloudUnreachable(text, retry_after_s=wait_s)


def _who_else(answer: ArmAnswer) -> str:
    """What is known about the sender of the answer, and what to check."""
    words = answer.first_words
    said = f"it says: {words}" if words else "it is empty"
    sender = f" ({answer.sender})" if answer.sender else ""
    return (
        f"{sender}; {said}; does a proxy or a firewall answer in Azure's place? HTTPS_PROXY and NO_PROXY in "
        "agent.extraEnv and controller.extraEnv set the proxy"
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
    if status == 400 and NO_INSTANCE in fault.message.lower():  # noqa: PLR2004
        text = f"cannot {what}: the scale set has no such instance (was it scaled in, or deleted?): {fault.words}"
        return CloudNotFound(text, azure_code=fault.code)
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
    object_id = short(who.group(1), most=80) if who else ""
    identity = f"the identity with object id {object_id}" if who else "the agent's identity"
    text = (
        f"cannot {what}: {identity} lacks {action} on {assignable(scope)}; "
        "assign it a role with that action there (a new assignment takes some minutes to work)"
    )
    return AccessDenied(text, action=action, scope=scope, who=object_id, azure_code=fault.code)


def _no_token(error: ClientAuthenticationError, *, what: str) -> CloudError:
    said = error.message.strip().rstrip(".")
    answer = error.__cause__ if isinstance(error.__cause__, HttpResponseError) else error
    status = answer.response.status_code if answer.response else None
    silent = status is None and error.__cause__ is not None
    if silent or (status is not None and status not in REFUSALS):
        text = f"cannot {what}: no token for now: the identity's token service does not answer as it should: {said}"
        return CloudUnreachable(text, azure_code=UNREACHABLE)
    if SEVERAL in said.lower():
        text = (
            f"cannot {what}: no token for the agent's identity: this VM has several user-assigned identities; set "
            "azure.clientID to the client ID of the one that has the role"
        )
        return AccessDenied(text, azure_code=NO_TOKEN)
    text = (
        f"cannot {what}: no token for the agent's identity: {said}; is an identity assigned to this VM, and is its "
        "client ID the configured one?"
    )
    return AccessDenied(text, azure_code=NO_TOKEN)
