"""What Azure refused to attach, and how long the NIC's writes leave it out: `ipam.attachment_blame` over time."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from azure_cni.errors import AccessDenied, CloudError
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.attachment_blame import Narrowing, again_apart, narrowed, suspects
from azure_cni.ipam.attachment_plan import Resources, Suspect, added_by
from azure_cni.ipam.limits import BACKOFF_REFUSED_S, delay_s
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from azure_cni.node.pool.failures import Activity, Failure

log = logging.getLogger(__name__)

REFUSAL_KEPT_S: Final = BACKOFF_REFUSED_S
"""After its pause: how long a refusal of what no pod wants any more is remembered."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Azure refused it `attempts` times in a row; it is not tried again before `retry_at_s`."""

    error: CloudError
    attempts: int
    retry_at_s: float
    holder: Holder | None = None
    """Of the ipConfiguration's address, where it is held back on one: that of another pod is another matter."""


class AttachmentRefusals:
    """`now_s`: the boot time in seconds. `holders`: who has the address of each ipConfiguration."""

    def __init__(
        self,
        now_s: Callable[[], float],
        holders: Callable[[], Mapping[ConfigName, Holder | None]],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._now_s, self._holders, self._jitter = now_s, holders, jitter
        self._refused: dict[Suspect, HeldBack] = {}
        self._width = Narrowing.ALL

    def held_back(self) -> Collection[Suspect]:
        """What is not to be tried now."""
        now_s = self._now_s()
        return {suspect for suspect, held in self._refused.items() if now_s < held.retry_at_s}

    def known(self) -> Collection[Suspect]:
        """All that was refused when it was last tried."""
        return self._refused.keys()

    def next_write(self, found: tuple[AttachmentChange, ...], view: NicView) -> tuple[AttachmentChange, ...]:
        """Of these changes those that go in one write."""
        fresh, apart = again_apart(found, self._refused.keys())
        return narrowed(fresh, Narrowing.ONE if apart else self._width, view)

    def conclude(
        self, error: CloudError, blamed: Resources, refused: Collection[AttachmentChange], view: NicView | None
    ) -> None:
        """Azure refused these changes because of something that they add: `blamed`, if that is known."""
        if held := suspects(error, blamed, refused, view):
            for suspect in held:
                self.hold_back(suspect, error)
        else:
            self._width = max(self._width, Narrowing.after(refused))

    def hold_back(self, suspect: Suspect, error: CloudError) -> None:
        """For a pause that grows with each refusal."""
        now_s, before = self._now_s(), self._refused.get(suspect)
        attempts = 1 if before is None else before.attempts + 1
        pause_s = delay_s(attempts, retry_after_s=None, jitter=self._jitter(), longest_s=BACKOFF_REFUSED_S)
        holder = self._holders().get(suspect.config) if suspect.config is not None else None
        self._refused[suspect] = HeldBack(error, attempts, now_s + pause_s, holder)
        facts = {"resource": suspect.resource.id, "reason": error.reason, "again_in_s": round(pause_s)}
        only = {"ipconfiguration": suspect.config} if suspect.config is not None else {}
        log.warning("resource not attached", extra=facts | only | {"error": str(error)})

    def hurry(self) -> None:
        """All may be tried again at once."""
        self._refused = {suspect: replace(held, retry_at_s=float("-inf")) for suspect, held in self._refused.items()}

    def due_s(self) -> Iterator[float]:
        """Boot times at which something may be tried again."""
        return (held.retry_at_s for held in self._refused.values())

    def retry_at_s(self, resources: Collection[AttachedResource]) -> float | None:
        """Boot time at which the first of those that were refused is tried again; None where none was."""
        held = (one.retry_at_s for suspect, one in self._refused.items() if suspect.resource in resources)
        return min(held, default=None)

    def refusal_of(self, resource: AttachedResource, config: ConfigName | None) -> CloudError | None:
        """Why Azure refused it there when it was last tried; None when it did not."""
        held = self._refused.get(Suspect(resource)) or self._refused.get(Suspect(resource, config))
        return held.error if held is not None else None

    def note(self, changes: Collection[AttachmentChange], *, there: Resources, lacking: Collection[Suspect]) -> None:
        """`changes` are due; `there` is what the NIC has, and `lacking` what a pod waits for.

        What is attached is refused no longer.

        What no pod wants any more stays refused for a while: an annotation that goes and comes again is no reason to
        try at once.
        """
        since_s, holders = self._now_s() - REFUSAL_KEPT_S, self._holders() if self._refused else {}

        def stays(suspect: Suspect, held: HeldBack) -> bool:
            if suspect.config is not None and holders.get(suspect.config) != held.holder:
                return False
            gone = suspect.config is not None or suspect.resource not in there
            return suspect in lacking or (gone and held.retry_at_s > since_s)

        self._refused = {suspect: held for suspect, held in self._refused.items() if stays(suspect, held)}
        if not added_by(changes):
            self._width = Narrowing.ALL

    def denied(self, lacking: Collection[Suspect]) -> tuple[Failure, ...]:
        """What a pod waits for, for want of a permission."""
        return tuple(
            Failure(Activity.ATTACH, held.error, held.attempts, held.retry_at_s, failed_at_s=held.retry_at_s)
            for suspect, held in self._refused.items()
            if suspect in lacking and isinstance(held.error, AccessDenied) and held.error.azure_code
        )
