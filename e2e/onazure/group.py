"""The resource group of a run: made new, and removed with all that is in it however the run ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from onazure.arm import RESOURCES, Answer, Arm
from onazure.errors import OnAzureError

TAGS: Final = {"made-by": "azure-cni e2e/on-azure"}
REMOVED_S: Final = 1800.0
POLL_S: Final = 5.0
ENDING: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Somebody ended the run, or the shell went away."""


def removal(group: str, subscription: str) -> str:
    """The command that removes it, for a run that could not."""
    return f"az group delete --yes --subscription {subscription} --name {group}"


@contextmanager
def resource_group(arm: Arm, location: str) -> Iterator[None]:
    """A group that was not there before. OnAzureError: it is there already, or cannot be made or removed.

    From its making on, signals end the run as an exception would, so that the group goes; meanwhile they are ignored.
    """
    there = arm.ask("GET", arm.inside, version=RESOURCES)
    name = arm.inside.rpartition("/")[2]
    if there.status != 404:
        why = "it is there already" if there.ok else there.words
        raise OnAzureError(f"cannot make the resource group {name}: {why}; choose another with --group")
    before = {number: signal.signal(number, _interrupt) for number in ENDING}
    made: Answer | None = None
    try:
        made = arm.ask("PUT", arm.inside, {"location": location, "tags": TAGS}, version=RESOURCES)
        if not made.ok:
            raise OnAzureError(f"cannot make the resource group {name} in {location}: {made.words}")
        yield
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        try:
            if made is None or made.ok:  # None: whether it was made is not known
                _remove(arm, name)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(signal.Signals(number).name)


def _remove(arm: Arm, name: str) -> None:
    """Ask for the removal and wait until it is done; what was asked for happens also when nobody waits."""
    by_hand = removal(name, arm.login.subscription)
    print(f"removing the resource group {name} with all that is in it", file=sys.stderr, flush=True)
    try:
        answer = arm.ask("DELETE", arm.inside, version=RESOURCES)
        until = arm.now() + REMOVED_S
        while answer.ok and arm.now() < until:
            answer = arm.ask("GET", arm.inside, version=RESOURCES)
            if answer.ok:
                arm.sleep(POLL_S)
    except OnAzureError as error:
        raise OnAzureError(f"cannot remove the resource group {name}: {error}; remove it: {by_hand}") from error
    if answer.status != 404:
        raise OnAzureError(f"cannot remove the resource group {name}: {answer.words}; remove it: {by_hand}")
