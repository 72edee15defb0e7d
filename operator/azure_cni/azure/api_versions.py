"""The API version for each kind of resource: ours, or the best of those that a cloud says it supports.

Sovereign clouds get an API version months after the public cloud, Azure Stack years later. Such a cloud refuses our
version by name and lists its own, and the list decides, once per process. An older version shows fewer properties, and
a NIC is written back as it was read, so each kind of resource has an oldest usable version.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final

from azure_cni.azure.resources import Resource
from azure_cni.errors import RequestRefused, VersionUnknown

log = logging.getLogger(__name__)

CODES: Final = frozenset({"NoRegisteredProviderFound", "InvalidApiVersionParameter", "InvalidResourceType"})
TRIES: Final = 3
"""Versions of one resource in a row: the list of a gateway may name some that the provider then refuses."""

_LIST = re.compile(r"supported (?:api-)?versions are\s*'([^']*)'", re.IGNORECASE)
_STABLE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def listed(message: str) -> tuple[str, ...]:
    """The versions that a refusal names, without previews; empty where it names none."""
    found = _LIST.search(message)
    names = (name.strip() for name in found.group(1).split(",")) if found else ()
    return tuple(sorted({name for name in names if _STABLE.fullmatch(name)}))


def best(supported: tuple[str, ...], *, ours: str, oldest: str, refused: frozenset[str] = frozenset()) -> str | None:
    """The newest version up to ours; where all are newer, the one that is closest to it. None when none will do."""
    usable = [version for version in supported if version >= oldest and version not in refused]
    older = [version for version in usable if version <= ours]
    return max(older) if older else min(usable, default=None)


class ApiVersions:
    """The versions of one process, by kind of resource."""

    def __init__(self) -> None:
        self._chosen: dict[str, str] = {}
        self._refused: dict[str, frozenset[str]] = {}

    def of(self, resource: Resource) -> str:
        """The API version to use for this resource."""
        return self._chosen.get(resource.noun, resource.api_version)

    def replace(self, resource: Resource, asked: str, refusal: VersionUnknown) -> None:
        """Azure refused `asked`: choose another. RequestRefused when no version that it supports will do.

        When none will do, all refused versions become eligible again: a gateway that is being updated refuses versions
        that the cloud supports, and otherwise this process would never retry them.
        """
        if self.of(resource) != asked:
            return  # another request has chosen meanwhile
        refused = self._refused.get(resource.noun, frozenset()) | {asked}
        chosen = best(refusal.supported, ours=resource.api_version, oldest=resource.oldest_api, refused=refused)
        if chosen is None:
            self._refused.pop(resource.noun, None)
            self._chosen.pop(resource.noun, None)
            raise RequestRefused(
                f"cannot ask Azure about {resource.label}: this cloud supports the API versions "
                f"{_newest(refusal.supported)}, and azure-cni needs {resource.api_version}, or at least "
                f"{resource.oldest_api}; an older cloud cannot be used",
                azure_code=refusal.azure_code,
            )
        self._refused[resource.noun] = refused
        self._chosen[resource.noun] = chosen
        facts: Mapping[str, str] = {"resource": resource.noun, "refused": asked, "used": chosen}
        log.info("azure does not support an API version: another is used from now on", extra=facts)


def _newest(versions: tuple[str, ...]) -> str:
    """The newest of them, which are those that matter."""
    newest = ", ".join(versions[-8:])
    return newest if len(versions) <= 8 else f"(newest) {newest}"  # noqa: PLR2004
