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
