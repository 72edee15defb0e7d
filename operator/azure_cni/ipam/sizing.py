"""How many addresses a node should hold.

    needed = assigned + waiting                               waiting: pods of this node that need an address
    target = roundup(needed + cooling + minFree, batch)       within [batch, max]; or the fixed size, at most max

Cooling addresses are on the NIC but useless for now: they count as needed, else a burst of restarts would starve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from azure_cni.errors import ConfigInvalid
from azure_cni.ipam.limits import BATCH, MAX_ADDRESSES_PER_NODE, MAX_FREE, MIN_FREE

_ELASTIC: Final = {"min_free": "minFree", "max_free": "maxFree", "batch": "batch"}
"""What a fixed size excludes, and what people call it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What people want of a pool (`spec` of a NodeIPPool), validated: an instance is always consistent.

    Counts are addresses. `size` fixes the pool and excludes `min_free`, `max_free` and `batch`; `maximum` bounds it
    either way; `paused` stops all writes to the NIC. Raises ConfigInvalid with the values and the rule they break.
    """

    min_free: int = MIN_FREE
    max_free: int = MAX_FREE
    batch: int = BATCH
    size: int | None = None
    maximum: int = MAX_ADDRESSES_PER_NODE
    paused: bool = False

    def __post_init__(self) -> None:
        _within("max", self.maximum, 1)
        _within("minFree", self.min_free, 0)
        _within("batch", self.batch, 1)
        _within("maxFree", self.max_free, 0, most=2 * MAX_ADDRESSES_PER_NODE)
        if self.size is not None:
            _within("size", self.size, 1)
            if (self.min_free, self.max_free, self.batch) != (MIN_FREE, MAX_FREE, BATCH):
                raise ConfigInvalid(
                    f"cannot use size {self.size} with minFree {self.min_free}, maxFree {self.max_free}, batch "
                    f"{self.batch}: a fixed size excludes the other three; remove either"
                )
        if self.max_free < self.min_free + self.batch:
            raise ConfigInvalid(
                f"cannot use maxFree {self.max_free}: it must be at least minFree + batch "
                f"({self.min_free} + {self.batch}), else the pool would grow and shrink in turns"
            )


def override(default: Policy, overrides: Mapping[str, int | bool]) -> Policy:
    """The cluster's default policy with what one pool says, under the names of `Policy`'s fields.

    A pool's size displaces the default minFree, maxFree and batch, and any of these a default size. ConfigInvalid
    when the pool gives both, or the outcome breaks a rule.
    """
    elastic = _ELASTIC.keys() & overrides.keys()
    if "size" in overrides and elastic:
        named = ", ".join(f"{_ELASTIC[name]} {overrides[name]}" for name in sorted(elastic))
        raise ConfigInvalid(
            f"cannot use size {overrides['size']} with {named}: a fixed size excludes them; remove either"
        )
    if "size" in overrides:
        default = replace(default, min_free=MIN_FREE, max_free=MAX_FREE, batch=BATCH)
    elif elastic:
        default = replace(default, size=None)
    return replace(default, **overrides)  # type: ignore[arg-type]  # __post_init__ judges each value


def target(policy: Policy, *, assigned: int, waiting: int, cooling: int) -> int:
    """Addresses that the node should hold on its NIC, for so many assigned and cooling there and so many waiting."""
    if policy.size is not None:
        return min(policy.size, policy.maximum)
    wanted = assigned + waiting + cooling + policy.min_free
    return min(max(_round_up(wanted, policy.batch), policy.batch), policy.maximum)


def _round_up(count: int, batch: int) -> int:
    return -(-count // batch) * batch


def _within(key: str, value: int, least: int, *, most: int = MAX_ADDRESSES_PER_NODE) -> None:
    if type(value) is not int:  # a bool is an int too
        raise ConfigInvalid(f"cannot use {key} {value!r}: it must be a whole number")
    if not least <= value <= most:
        raise ConfigInvalid(f"cannot use {key} {value}: it must be between {least} and {most}")
