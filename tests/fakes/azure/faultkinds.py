"""The effects of faults by the names that people use on the command line and in the admin API."""

from dataclasses import replace

from fakes.azure import faults
from fakes.azure.faults import Effect

KINDS: dict[str, Effect] = {
    "throttle": faults.Throttled(),
    "busy": faults.Busy(429),
    "conflict": faults.Busy(409),
    "forbidden": faults.Forbidden(),
    "subnet-full": faults.SubnetFull(),
    "subnet-full-late": faults.SubnetFull(late=True),
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
    "conflict": "409 AnotherOperationInProgress: the same in other words",
    "forbidden": "403: as if the role lacked the action of the request",
    "subnet-full": "the subnet has no room, said at once",
    "subnet-full-late": "the subnet has no room, said when the operation is asked for",
    "lost-reply": "the write is carried out, but its answer is lost",
    "lost-request": "the connection drops, and nothing is carried out",
    "touched": "another tool writes the NIC just before: 412 for who sends If-Match",
    "slow": "the operation takes --duration seconds, 60 if not said",
    "fail": "accepted, then Failed: the NIC is as before",
    "fail-half": "accepted, then Failed: half of the change is on the NIC",
    "fail-goal": "accepted, then Failed: all of the change is on the NIC",
    "cancel": "accepted, then Canceled",
    "superseded": "another tool writes just after and cancels ours; our change is in its body",
    "overwritten": "the same, and our change is not in its body",
    "stale-read": "a read shows the version before",
    "silent": "a request is taken and never answered",
    "proxy-page": "a proxy answers in Azure's place, with a page of its own",
    "imds-gone": "the metadata service answers 410",
    "imds-busy": "the metadata service answers 429",
    "imds-error": "the metadata service answers 500",
}
"""What each does, in a line for people."""


def effect_of(kind: str, *, duration_s: float | None = None) -> Effect:
    """The effect of that name; `duration_s` is for "slow" only. Raises ValueError."""
    effect = KINDS.get(kind)
    if effect is None:
        raise ValueError(f"cannot order fault {kind!r}: known are {', '.join(KINDS)}")
    if duration_s is None:
        return effect
    if isinstance(effect, faults.SlowOperation):
        return replace(effect, seconds=duration_s)
    raise ValueError(f"cannot order fault {kind!r} with a duration: only slow has one")


def kind_of(effect: Effect) -> str:
    """The name under which an effect is listed."""
    if isinstance(effect, faults.SlowOperation):
        return f"slow ({effect.seconds:g} s)"
    return next((kind for kind, known in KINDS.items() if known == effect), str(effect))
