"""Which of two versions of a Kubernetes object is the newer one: the one rule for all who keep what watches show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from azure_cni.api.reading import metadata_of, text

LONGEST_NUMBER: Final = 40
"""Digits; etcd's revisions have 19 at most."""


class Version(NamedTuple):
    """The UID tells objects of one name apart, the resourceVersion the states of one object."""

    uid: str
    number: str


def version(body: Mapping[str, Any]) -> Version:
    """That of an object as it was read."""
    meta = metadata_of(body)
    return Version(text(meta.get("uid")), text(meta.get("resourceVersion")))


def is_newer(one: Version, *, than: Version) -> bool:
    """Whether the other is out of date. Another object of that name is newer always.

    Resource versions of one kind are decimal numbers that rise (KEP-5504); what is not a number counts as newer.
    """
    numbers = (one.number, than.number)
    if one.uid != than.uid or not all(number.isdecimal() and len(number) <= LONGEST_NUMBER for number in numbers):
        return True
    return int(one.number) > int(than.number)
