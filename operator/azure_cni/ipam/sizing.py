"""How many addresses a node should hold, and how many of those that it lacks to request next.

    needed = assigned + waiting                               waiting: pods of this node that need an address
    target = roundup(needed + cooling + minFree, batch)       within [batch, max]; or the fixed size, at most max

Cooling addresses are on the NIC but useless for now: they count as needed, or a burst of restarts would find none.

A pool of blocks (`blocks: 28`) grows by whole ones, 16 addresses each: the target is rounded up to what a whole number
of them brings, or down where `max`, the NIC or a recall has no room for the last one (`in_blocks`).

Azure does not say how many addresses a subnet has left, only whether a write fits as a whole. So refused sizes are
remembered (`SubnetRoom`), and for waiting pods the node requests fewer and fewer until a write fits. With N left and W
wanted, that takes about log3(W / N) refused writes; then the refused size minus what was added bounds what can be left.
The last addresses of a subnet are for waiting pods, on whichever node: a node that only wants spare addresses requests
all that it wants or none.

When the VNet's quota has no more, the controller may want idle addresses back for pods of other nodes
(`api.node_ip_pool.Recall`). That lowers what the node would hold, and with it what it asks for; never what its own pods
need. The plan shrinks once for each such wish, at once. Which nodes are asked, and for how many, is `quota.recalls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from azure_cni.api.node_ip_pool import Recall
from azure_cni.errors import ConfigInvalid
from azure_cni.ipam.limits import BATCH, MAX_ADDRESSES_PER_NODE, MAX_FREE, MIN_FREE
from azure_cni.model.nic import BLOCK_LENGTH, BLOCK_SIZE
from azure_cni.model.text import addresses, counted

_ELASTIC: Final = {"min_free": "minFree", "max_free": "maxFree", "batch": "batch"}
"""What a fixed size excludes, and what people call it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What people want of a pool (`spec` of a NodeIPPool), validated: an instance is always consistent.

    Counts are addresses. `size` fixes the pool and excludes `min_free`, `max_free` and `batch`; `maximum` bounds it
    either way; `paused` stops all writes to the NIC; `blocks` is the length of the prefix that each new configuration
    holds, 0 for one address; with `ipv6` each address has one of IPv6 beside it. Raises ConfigInvalid with the values
    and the rule they break.
    """

    min_free: int = MIN_FREE
    max_free: int = MAX_FREE
    batch: int = BATCH
    size: int | None = None
    maximum: int = MAX_ADDRESSES_PER_NODE
    paused: bool = False
    blocks: int = 0
    ipv6: bool = False

    @property
    def config_size(self) -> int:
        """How many addresses each new configuration holds."""
        return BLOCK_SIZE if self.blocks else 1

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
        if self.blocks:
            self._require_blocks()

    def _require_blocks(self) -> None:
        if self.blocks != BLOCK_LENGTH:
            raise ConfigInvalid(
                f"cannot use blocks {self.blocks}: Azure puts blocks of {BLOCK_SIZE} addresses on a NIC, which is "
                f"{BLOCK_LENGTH}, and no others; 0 for single addresses"
            )
        name, count = ("batch", self.batch) if self.size is None else ("size", self.size)
        if count % BLOCK_SIZE:
            raise ConfigInvalid(
                f"cannot use {name} {count} with blocks {self.blocks}: a block has {BLOCK_SIZE} addresses, so it must "
                f"be a multiple of {BLOCK_SIZE}"
            )
        if self.maximum < BLOCK_SIZE:
            raise ConfigInvalid(
                f"cannot use max {self.maximum} with blocks {self.blocks}: a block has {BLOCK_SIZE} addresses, so it "
                f"must be at least {BLOCK_SIZE}"
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
    """How many addresses the node should hold on its NIC, from how many are assigned, cooling and waited for."""
    if policy.size is not None:
        return min(policy.size, policy.maximum)
    wanted = assigned + waiting + cooling + policy.min_free
    return min(max(_round_up(wanted, policy.batch), policy.batch), policy.maximum)


def in_blocks(wanted: int, *, held: int, most: int, size: int) -> int:
    """How many addresses a NIC should hold that has `held` of the `wanted`, and may have `most`, if it can only get
    `size` at a time.
    """
    if wanted <= held:
        return wanted
    room = max(0, most - held) // size * size
    return held + min(_round_up(wanted - held, size), room)


def under_recall(wanted: int, *, needed: int, recall: Recall | None) -> int:
    """How many of the `wanted` addresses a node should hold while the controller recalls idle ones.

    `needed`: those that pods have, wait for, or gave back a moment ago. They are never recalled.
    """
    return wanted if recall is None else min(wanted, max(recall.hold, needed))


def recall_words(recall: Recall, *, allocated: int) -> str:
    """Why a node that holds `allocated` addresses keeps fewer idle ones than its pool should, for people."""
    return (
        f"{addresses(allocated)} on the NIC: pods of other nodes waited and nothing else was left, so the controller "
        f"wants this node to hold {recall.hold} at most, or as many as its own pods need (status.recall); it may have "
        "its spare ones again five minutes after the last pod waited, or as soon as less than 70 % is in use"
    )


def recalling_words(count: int, whose: str) -> str:
    """What pods of a node learn for which `count` idle addresses are taken back; `whose` they are, for people."""
    return (
        f"{counted(count, 'idle address is', 'idle addresses are')} taken back from {whose} for pods that wait here, "
        "which takes some write of a NIC each: nothing needs to be done for those"
    )


def _round_up(count: int, batch: int) -> int:
    return -(-count // batch) * batch


def _within(key: str, value: int, least: int, *, most: int = MAX_ADDRESSES_PER_NODE) -> None:
    if type(value) is not int:  # a bool is an int too
        raise ConfigInvalid(f"cannot use {key} {value!r}: it must be a whole number")
    if not least <= value <= most:
        raise ConfigInvalid(f"cannot use {key} {value}: it must be between {least} and {most}")


SHARE: Final = 3
"""After a refusal the next growth is this fraction of it: 250 shrink to 1 in six writes."""
STRIDE: Final = 4
"""When a growth fits where a smaller one was refused, addresses became free: the next is this many times larger."""


@dataclass(frozen=True, slots=True)
class SubnetRoom:
    """`refused`: the smallest growth that did not fit; None if none was refused since the subnet had room for all.

    `most`: the upper bound of the next growth, because a while ago not even one address fitted; None if
    nothing bounds it. Both count addresses.
    """

    refused: int | None = None
    most: int | None = None

    def next_add(self, wanted: int, *, needed: int, size: int = 1) -> int:
        """How many to ask for, of `wanted`; pods wait for `needed` of these. Both come by `size` at a time."""
        if needed <= 0:
            return wanted
        sizes = [wanted]
        if self.refused is not None:
            sizes += [needed, max(1, self.refused // SHARE)]
        if self.most is not None:
            sizes.append(self.most)
        return min(wanted, _round_up(min(sizes), size))

    def after_news(self, count: int) -> SubnetRoom:
        """Others have just given `count` addresses back for pods of this node: a growth by as many may fit."""
        return self if self.refused is None and self.most is None else SubnetRoom(most=count)

    def after_refusal(self, add: int) -> SubnetRoom:
        """A growth by `add` did not fit, so no larger one does either."""
        return SubnetRoom(refused=add if self.refused is None else min(add, self.refused))

    def after_growth(self, add: int, *, wanted: int) -> SubnetRoom:
        """A growth by `add` fitted, where `wanted` would have been welcome."""
        if add >= wanted:
            return SubnetRoom()
        if self.refused is None or add >= self.refused:  # more room than it had when it refused
            return SubnetRoom(most=STRIDE * add)
        return SubnetRoom(refused=self.refused - add)
