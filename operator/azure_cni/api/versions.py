"""Which of two versions of a Kubernetes object is the newer one: the one rule for all who keep what watches show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Version(NamedTuple):
    """The UID tells objects of one name apart, the resourceVersion the states of one object."""

    uid: str
    number: str


def version(body: Mapping[str, Any]) -> Version:
    """That of an object as it was read."""
    meta = body.get("metadata") or {}
    return Version(str(meta.get("uid", "")), str(meta.get("resourceVersion", "")))


def is_newer(one: Version, *, than: Version) -> bool:
    """Whether the other is out of date. Another object of that name is newer always.

    Resource versions of one kind are decimal numbers that rise (KEP-5504); what is not a number counts as newer.
    """
    if one.uid != than.uid or not (one.number.isdecimal() and than.number.isdecimal()):
        return True
    return int(one.number) > int(than.number)
