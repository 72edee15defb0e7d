"""One error as Azure reports it: its codes, its message, and what a person can do about it. Pure.

An error body is `{"error": {"code", "message", "details": [...]}}`, at times the bare error, at times JSON inside a
string: the compute provider puts details there, and a gateway a provider's whole answer. All of them are searched,
within limits, because a body may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.azure.answers import read_json, short

LONGEST_WORDS: Final = 400
DEEPEST: Final = 8
"""Levels of details and of JSON in strings that are looked into; real ones have two or three."""
MOST_PARTS: Final = 50

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""What may be a code: it becomes a label of metrics."""

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
NO_INSTANCE: Final = "is not an active virtual machine scale set vm instanceid"
"""Part of the message, in lower case, by which the compute provider says that a scale set has no such instance: a 400
whose code, InvalidParameter, means many things."""
CHANGED: Final = frozenset({"PreconditionFailed", "PreconditionFailedEtagMismatch"})
THROTTLED: Final = frozenset({
    "TooManyRequests",
    "SubscriptionRequestsThrottled",
    "TenantRequestsThrottled",
    "ResourceRequestsThrottled",
    "RequestThrottled",
})  # fmt: skip

REMEDIES: Final[Mapping[str, str]] = {
    "ScopeLocked": "remove the lock on the resource or on what it lies in (az lock list)",
    "RequestDisallowedByPolicy": "an Azure Policy denies it: change the policy, or exempt the resource from it",
    "RequestDisallowedByAzure": "Azure itself denies it in this subscription: ask Azure's support which rule does",
    "ReadOnlyDisabledSubscription": "the subscription is disabled and can only be read: its owner can enable it again",
    "SubscriptionNotFound": "is azure.cloud the right one, and is the subscription still there?",
    "MissingSubscriptionRegistration": "register the resource provider in the subscription (az provider register)",
    "SubscriptionNotRegistered": "register the resource provider in the subscription (az provider register)",
    "FeatureNotRegistered": "register the feature that the message names in the subscription (az feature register)",
    "LocationNotAvailableForResourceType": "this location does not offer it: use a VM in another location",
    "InvalidResourceLocation": "the NIC is in another location than the request says: was it recreated elsewhere?",
    "QuotaExceeded": "ask Azure to raise the quota that the message names, or free what uses it",
    "SubscriptionQuotaExceeded": "ask Azure to raise the quota that the message names, or free what uses it",
    "PrivateIPAddressIsAllocated": "free the address that the message names, or take it out of the NIC's configuration",
    "PrivateIPAddressInUse": "free the address that the message names, or take it out of the NIC's configuration",
    "AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups": (
        "give all ipConfigurations of the NIC the same application security groups"
    ),
}
"""What must change before a refusal can end, by Azure's code. Codes: Azure's documentation on common errors of the
resource manager, and public issue trackers."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One error as Azure words it: `codes` with that of the top first, then those of its details; `message` whole."""

    codes: tuple[str, ...]
    message: str

    @property
    def code(self) -> str:
        """Azure's own word for it, "" when it has none."""
        return self.codes[0] if self.codes else ""

    @property
    def words(self) -> str:
        """The message on one line, short enough to be read."""
        return short(self.message, most=LONGEST_WORDS)

    @property
    def remedy(self) -> str:
        """What a person can do, as a part of a sentence; "" where nothing special is known."""
        return next((f"; {REMEDIES[code]}" for code in self.codes if code in REMEDIES), "")

    def has(self, codes: frozenset[str]) -> bool:
        """Whether any of its codes is one of these."""
        return not codes.isdisjoint(self.codes)

    @classmethod
    def read(cls, body: Any) -> Fault:
        """From an error's body, decoded; of one that has another shape no code, and its text as message."""
        parts = list(_parts(body, depth=0))[:MOST_PARTS]
        found = (_text(part.get("code")) for part in parts)
        codes = tuple(dict.fromkeys(code for code in found if _CODE.fullmatch(code)))
        messages = dict.fromkeys(text for part in parts if (text := _text(part.get("message"))))
        said = " ".join(messages) or (_text(body) if not parts else "")
        return cls(codes, said or "no reason given")


def _parts(value: Any, *, depth: int) -> Iterator[Mapping[str, Any]]:
    """The error, then its details and theirs, and what is wrapped in it as JSON in a string."""
    if depth > DEEPEST:
        return
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        yield from _parts(read_json(value), depth=depth + 1)
    elif isinstance(value, list):
        for item in value[:MOST_PARTS]:
            yield from _parts(item, depth=depth + 1)
    elif isinstance(value, Mapping):
        inner = value.get("error")
        if isinstance(inner, Mapping):
            yield from _parts(inner, depth=depth + 1)
            return
        yield value
        yield from _parts(value.get("details"), depth=depth + 1)
        yield from _parts(value.get("message"), depth=depth + 1)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
