"""The names of faults on the command line and in the admin API."""

from dataclasses import replace

from fakeazure import errors, faults
from fakeazure.faults import Effect

KINDS: dict[str, Effect] = {
    "throttle": faults.Throttled(),
    "busy": faults.Busy(429),
    "conflict": faults.Busy(409),
    "forbidden": faults.Forbidden(),
    "hidden": faults.Refuse(errors.hidden()),
    "locked": faults.Refuse(errors.locked()),
    "subnet-full": faults.SubnetFull(),
    "subnet-full-late": faults.SubnetFull(late=True),
    "no-ipv6-block": faults.NoIPv6Block(),
    "lost-reply": faults.LostReply(),
    "lost-request": faults.LostReply(applied=False),
    "touched": faults.TouchedMeanwhile(),
    "slow": faults.SlowOperation(60.0),
    "fail": faults.FailOperation(),
    "fail-half": faults.FailOperation(leaves="half"),
    "fail-goal": faults.FailOperation(leaves="goal"),
    "cancel": faults.FailOperation(status="Canceled", code="Canceled", message="Operation was canceled."),
    "superseded": faults.Superseded(),
    "overwritten": faults.Superseded(keeps_ours=False),
    "stale-read": faults.Stale(),
    "silent": faults.Silent(),
    "proxy-page": faults.Page(),
    "imds-gone": faults.MetadataError(410),
    "imds-busy": faults.MetadataError(429),
    "imds-error": faults.MetadataError(500),
}

WORDS: dict[str, str] = {
    "throttle": "429: too many requests, with a Retry-After",
    "busy": "429 RetryableError: another operation has the NIC",
    "conflict": "409 AnotherOperationInProgress: the same with another code",
    "forbidden": "403: as if the role lacked the action of the request",
    "hidden": "404 NotFound: as if the resource were not there",
    "locked": "409 ScopeLocked: somebody has locked the resource",
    "subnet-full": "the subnet is full, reported at once",
    "subnet-full-late": "the subnet is full, reported when the operation is polled",
    "no-ipv6-block": "a write that adds an IPv6 block is refused; single IPv6 addresses are not",
    "lost-reply": "the write is carried out, but its answer is lost",
    "lost-request": "the connection drops before anything is carried out",
    "touched": "another tool writes the NIC just before: 412 for a request with If-Match",
    "slow": "the operation takes --duration seconds, by default 60",
    "fail": "accepted, then Failed: the NIC is as before",
    "fail-half": "accepted, then Failed: half of the change is on the NIC",
    "fail-goal": "accepted, then Failed: all of the change is on the NIC",
    "cancel": "accepted, then Canceled",
    "superseded": "another tool writes just after and cancels our write; its body has our change",
    "overwritten": "the same, but its body lacks our change",
    "stale-read": "a read returns the previous version",
    "silent": "a request is accepted and never answered",
    "proxy-page": "a proxy answers instead of Azure, with an HTML page",
    "imds-gone": "the metadata service answers 410",
    "imds-busy": "the metadata service answers 429",
    "imds-error": "the metadata service answers 500",
}
"""What each does, for the help text."""


def effect_of(kind: str, *, duration_s: float | None = None) -> Effect:
    """The effect of that name; `duration_s` is for "slow" only. Raises ValueError."""
    effect = KINDS.get(kind)
    if effect is None:
        raise ValueError(f"cannot inject fault {kind!r}: the kinds are {', '.join(KINDS)}")
    if duration_s is None:
        return effect
    if isinstance(effect, faults.SlowOperation):
        return replace(effect, seconds=duration_s)
    raise ValueError(f"cannot inject fault {kind!r} with a duration: only slow has one")


def kind_of(effect: Effect) -> str:
    """The name under which an effect is listed."""
    if isinstance(effect, faults.SlowOperation):
        return f"slow ({effect.seconds:g} s)"
    return next((kind for kind, known in KINDS.items() if known == effect), str(effect))
