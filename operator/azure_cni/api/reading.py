"""Reading documents of the Kubernetes API that anybody may have edited: what is not of its type counts as absent.

An older definition may be installed, and an administrator may write whatever the installed one lets pass. No field of
such an object may keep an agent, a controller or another node from its work; what machines write there is written again
by them. Numbers are held within what the definitions allow, so that what is calculated with them can be written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

MOST_ADDRESSES: Final = 256
"""Of a NIC and of a VM: the platform's limit, the primary address included. No count of one node is more."""
LARGEST_NUMBER: Final = 2**53 - 1
"""Of requests and orders; the largest that every reader of JSON keeps exactly. Real ones begin below 2**52."""
_TO_FOLLOW: Final = 2**32
"""So many numbers can follow the largest one that is counted on from: at one a second, those of a century."""

NOT_JSON: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""All that msgspec raises where bytes are not JSON of the wanted shape. The last two are no DecodeErrors: text that is
not UTF-8, and what is nested deeper than any real document."""


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
    """The number of a request or order; 0 for none, and for one that azure-cni cannot have given."""
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
