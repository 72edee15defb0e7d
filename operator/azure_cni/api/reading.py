"""Reads objects of the Kubernetes API that anybody may have edited: a value of the wrong type counts as absent.

An older definition may be installed, and an administrator may write whatever the installed one lets pass. No field of
such an object may stop the work of an agent, a controller or another node; machines write their own fields again.
Numbers are clamped to what the definitions allow, so that results calculated from them can be written.

Which of two reads of an object is the newer one is decided here too (`is_newer`), for all who keep what watches show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

MOST_ADDRESSES: Final = 256
"""Of a NIC and of a VM: the platform's limit, the primary address included. No count of one node is more."""
LARGEST_NUMBER: Final = 2**53 - 1
"""Of requests and NIC operations; the largest that every reader of JSON keeps exactly. Real ones begin below 2**52."""
_TO_FOLLOW: Final = 2**32
"""How many numbers can follow the largest accepted one: at one a second, those of a century."""


def mapping(value: object) -> Mapping[str, Any]:
    """An object, empty where there is none."""
    return value if isinstance(value, Mapping) else {}


def status_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of an object."""
    return mapping(body.get("status"))


def spec_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec of an object."""
    return mapping(body.get("spec"))


def metadata_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of an object."""
    return mapping(body.get("metadata"))


def object_labels(body: Mapping[str, Any]) -> Mapping[str, str]:
    """Its labels; a value that is no text is ""."""
    return {key: text(one) for key, one in mapping(metadata_of(body).get("labels")).items()}


def mappings(value: object) -> Sequence[Mapping[str, Any]]:
    """A list of objects, what is none left out."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return ()
    return [one for one in value if isinstance(one, Mapping)]


def text(value: object) -> str:
    """A text, "" where there is none."""
    return value if isinstance(value, str) else ""


def whole(value: object, *, most: int, default: int = 0) -> int:
    """A whole number, `default` where there is none; held between 0 and `most`."""
    if not isinstance(value, int) or isinstance(value, bool):
        return default
    return min(max(value, 0), most)


def addresses(value: object) -> int:
    """A count of addresses of one node."""
    return whole(value, most=MOST_ADDRESSES)


def number(value: object) -> int:
    """The number of a request or NIC operation; 0 for none, and for one that azure-cni cannot have given."""
    known = whole(value, most=LARGEST_NUMBER + 1)
    return known if known <= LARGEST_NUMBER else 0


def last_number(value: object) -> int:
    """A number from which to count on; 0 for none, and for one that a hand must have set: too few could follow it."""
    known = number(value)
    return known if known <= LARGEST_NUMBER - _TO_FOLLOW else 0


def real(value: object, *, least: float, most: float, default: float) -> float:
    """A number, `default` where there is none; held within the bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:  # noqa: PLR0124  # NaN
        return default
    return float(min(max(value, least), most))


def decimal(value: object, *, most: int, default: int = 0) -> int:
    """A whole number that was written as text, `default` where there is none; at most `most`.

    Python refuses to read more than 4300 digits, with an error that nobody expects of a text of digits.
    """
    written = text(value)
    if not (written.isascii() and written.isdecimal()):
        return default
    return most if len(written.lstrip("0")) > len(str(most)) else min(int(written.lstrip("0") or "0"), most)


def next_page(said: object, asked: set[str]) -> str:
    """The token or link of a list's next page, "" after the last one; `asked` are those of before, and gets this one.

    ValueError for one of those: whoever answers (a proxy that leaves out the query) shows the same page for ever.
    """
    following = text(said)
    if following in asked:
        raise ValueError("it begins again and does not end: its next page is one that was read before")
    if following:
        asked.add(following)
    return following


LONGEST_NUMBER: Final = 40
"""Digits; etcd's revisions have 19 at most."""


class Version(NamedTuple):
    """The UID distinguishes objects of one name, the resourceVersion the states of one object."""

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
