"""For what of it Azure refused a write that attaches something, and which write finds that out. Pure.

A refused write is refused whole, and Azure does not always say for what. Pods' owners choose what their pods ask for,
so what one of them asks for must not keep the others waiting. A refusal is therefore held against a resource only
where it is the resource's own (it does not exist, may not be joined, is in use), or where the resource was refused by
itself. Two pools may be fine each by itself and not together on one ipConfiguration: that is held against the resource
on this ipConfiguration alone. Until it is known, what is added goes in ever narrower writes (`Narrowing`), those things
first that end by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import IntEnum
from typing import Final

from azure_cni.errors import AccessDenied, CloudError, CloudNotFound, OperationFailed, RequestRefused
from azure_cni.ipam.attachment_plan import NONE, Resources, Suspect, added_by
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import AttachmentChange, NicView

MISSING: Final = frozenset({"InvalidResourceReference", "NotFound", "ResourceNotFound"})
TAKEN: Final = frozenset({"PublicIPAddressInUse"})
"""Azure's codes for a resource that does not exist, and for one that something else has."""
_JOINS: Final = re.compile(r"(backendAddressPools|publicIPAddresses)/join/action", re.IGNORECASE)


class Narrowing(IntEnum):
    """What goes in one write: everything; one resource; one resource where nothing else is, or else to one
    ipConfiguration.
    """

    ALL = 0
    RESOURCE = 1
    ONE = 2

    @classmethod
    def after(cls, refused: Collection[AttachmentChange]) -> Narrowing:
        """The width at which more is found out, once these changes were refused and it is not known for what."""
        return cls.RESOURCE if len(added_by(refused)) > 1 else cls.ONE


def blamed(error: CloudError, added: Resources) -> Resources | None:
    """Which of the added resources a write was refused for; none of them when that is not said; None when the refusal
    was not for any of them.
    """
    if not added or not isinstance(error, AccessDenied | CloudNotFound | RequestRefused | OperationFailed):
        return None
    if found := named(error, added):
        return found
    if isinstance(error, AccessDenied) and not _JOINS.search(f"{error.action} {error}"):
        return None
    return added if len(added) == 1 else NONE


def suspects(
    error: CloudError, blamed: Resources, refused: Collection[AttachmentChange], view: NicView | None
) -> frozenset[Suspect]:
    """Against what the refusal of these changes is held; nothing while narrower writes have to find it out."""
    own = isinstance(error, AccessDenied | CloudNotFound) or error.azure_code in MISSING | TAKEN
    if blamed and own:
        return frozenset(Suspect(resource) for resource in blamed)
    added, adding = added_by(refused), [change for change in refused if change.add]
    if len(added) == 1 and view is not None and all(_bare(change, view) for change in adding):
        return frozenset(Suspect(resource) for resource in added)
    if len(added) == 1 and len(adding) == 1:
        return frozenset(Suspect(resource, adding[0].config) for resource in added)
    return frozenset()


def narrowed(found: tuple[AttachmentChange, ...], width: Narrowing, view: NicView) -> tuple[AttachmentChange, ...]:
    """Of the changes all that they remove, and what of that which they add goes in a write of this width."""
    added = added_by(found)
    if width is Narrowing.ALL or not added:
        return found
    if width is Narrowing.RESOURCE:
        return _adding(found, lambda change: change.add & {min(added)})
    bare = {change.config for change in found if change.add and _bare(change, view)}
    first = min((it for change in found if change.config in bare for it in change.add), default=None)
    if first is not None:
        return _adding(found, lambda change: change.add & {first} if change.config in bare else NONE)
    one = next(change for change in found if change.add)
    return _adding(found, lambda change: frozenset({min(change.add)}) if change is one else NONE)


def again_apart(
    found: tuple[AttachmentChange, ...], refused: Collection[Suspect]
) -> tuple[tuple[AttachmentChange, ...], bool]:
    """The changes without what was refused before on its ipConfiguration, while there is anything else to add: it must
    not have the others refused once more. True: nothing else is left, so it goes alone.
    """
    fresh = _adding(found, lambda change: frozenset(r for r in change.add if Suspect(r, change.config) not in refused))
    if added_by(fresh) or not added_by(found):
        return fresh, False
    return found, True


def barring(error: CloudError, view: NicView) -> Resources:
    """Which of those that the NIC has the error says the writer may no longer join; none on a failed NIC, which may
    show what it never got. Azure checks that right for all that a written NIC refers to, so it then refuses every
    write, whatever that changes.
    """
    if view.failed or not isinstance(error, AccessDenied) or not _JOINS.search(error.action):
        return NONE
    return named(error, NONE.union(*(config.attached for config in view.all_secondaries)))


def named(error: CloudError, resources: Resources) -> Resources:
    """Which of these resources the error is about, by its words."""
    text = f"{error} {error.scope if isinstance(error, AccessDenied) else ''}".lower()
    return frozenset(resource for resource in resources if _names(text, resource))


def _names(text: str, resource: AttachedResource) -> bool:
    """Whether the text has the whole ID: an ID may be the beginning of another."""
    return re.search(rf"{re.escape(resource.key)}(?!\.?[-\w(])", text) is not None


def _bare(change: AttachmentChange, view: NicView) -> bool:
    """Whether its ipConfiguration has nothing else than what is added."""
    attached = next((config.attached for config in view.configs if config.name == change.config), NONE)
    return not attached - change.remove


def _adding(
    found: tuple[AttachmentChange, ...], add: Callable[[AttachmentChange], Resources]
) -> tuple[AttachmentChange, ...]:
    reduced = (replace(change, add=add(change)) for change in found)
    return tuple(change for change in reduced if change.add or change.remove)
