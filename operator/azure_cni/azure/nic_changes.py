"""What every write of a NIC has in common: names for new configurations, what is refused before it, and its one line in
the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from random import Random

from azure_cni.azure import nic_document
from azure_cni.errors import REFUSALS, CloudError, RequestRefused
from azure_cni.model.config_names import BLOCK_SUFFIX, IPV6_BLOCK_SUFFIX, IPV6_SUFFIX, OUR_ALPHABETS, OUR_PREFIX
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import BLOCK_SIZE, MAX_CONFIGS_PER_NIC, ConfigName
from azure_cni.model.text import addresses, legible

log = logging.getLogger(__name__)


def new_names(
    chance: Random, *, add: int, taken: Collection[str], size: int = 1, ipv6: IPv6Growth = NO_IPV6
) -> list[ConfigName]:
    """Names for configurations of this product that hold `add` addresses, `size` each, and then for those of `ipv6`;
    none is among `taken` (in lower case).
    """
    names: list[ConfigName] = []
    suffixes = [BLOCK_SUFFIX if size > 1 else ""] * (add // size)
    suffixes += [IPV6_BLOCK_SUFFIX if ipv6.block else IPV6_SUFFIX] * ipv6.configs
    while len(names) < len(suffixes):
        name = ConfigName(OUR_PREFIX + "".join(map(chance.choice, OUR_ALPHABETS)) + suffixes[len(names)])
        if name not in taken and name not in names:
            names.append(name)
    return names


def refuse_foreign(names: Collection[str], *, what: str) -> None:
    """Raise RequestRefused if there are any: they would be deleted, and are not this product's to delete."""
    if names:
        raise RequestRefused(
            f"cannot {what}: {', '.join(sorted(names))} was not made by azure-cni, which deletes only its own, or has "
            "something attached"
        )


def refuse_parts(*, add: int, size: int, what: str) -> None:
    """Raise RequestRefused unless `add` addresses fill configurations of `size` each, as Azure has them."""
    if size not in {1, BLOCK_SIZE} or add % size:
        raise RequestRefused(
            f"cannot {what}: {addresses(add)} cannot be added in ipConfigurations of {size} each: Azure has those of 1 "
            f"and of {BLOCK_SIZE}"
        )


def refuse_too_many(after: int, *, add: int, beside: int = 0, what: str) -> None:
    """Raise RequestRefused if the VM would have more than Azure allows after `add` new configurations: the NIC `after`,
    its further ones `beside`.
    """
    if add and after + beside > MAX_CONFIGS_PER_NIC:
        others = f", and {beside} are on the VM's other NICs" if beside else ""
        raise RequestRefused(
            f"cannot {what}: with {add} more it would have {after}{others}, and Azure allows a VM "
            f"{MAX_CONFIGS_PER_NIC} ipConfigurations"
        )


class StateLog:
    """Says once that a NIC, or its instance, is in a state that this product does not know: it waits for its end."""

    def __init__(self) -> None:
        self._last: str | None = None

    def note(self, state: str) -> None:
        """It is in this state now, in lower case."""
        if state != self._last and state not in nic_document.ENDS | nic_document.RUNNING:
            log.warning(
                "the NIC is in an unknown state: waiting for that to end", extra={"state": legible(state) or "none"}
            )
        self._last = state


@contextmanager
def logged_write(**asked: object) -> Iterator[dict[str, object]]:
    """Log the write that is made inside, whatever the outcome: one line with what was there, wanted, and is there now.
    The latter is put into the yielded dictionary.
    """
    began_s = time.monotonic()
    done: dict[str, object] = {}

    def report(level: int, message: str, **facts: object) -> None:
        log.log(level, message, extra=asked | facts | {"seconds": round(time.monotonic() - began_s, 3)})

    try:
        yield done
    except CloudError as error:
        report(logging.WARNING, _end(error), reason=error.reason, azure_code=error.azure_code)
        raise
    except asyncio.CancelledError:
        report(logging.WARNING, "nic write abandoned: it may still be running in Azure")
        raise
    report(logging.INFO, "nic written", **done)


def _end(error: CloudError) -> str:
    """The outcome of a write, for the log: a constant message."""
    if error.accepted:
        return "nic write accepted, but not done"
    return "nic write refused" if isinstance(error, REFUSALS) else "nic write not answered"
