"""Versions of the CNI specification that this build speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from azure_cni.errors import VersionUnsupported

SUPPORTED: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST: Final = SUPPORTED[-1]


def required_version(config: Mapping[str, Any]) -> str:
    """The version that a network configuration asks for. VersionUnsupported when this build does not speak it."""
    version = config.get("cniVersion")
    spoken = f"this build speaks {', '.join(SUPPORTED)}"
    if version is None:
        # The specification has configurations without one mean 0.1.0.
        raise VersionUnsupported(f"cannot use the network configuration: it has no cniVersion; {spoken}")
    if version not in SUPPORTED:
        raise VersionUnsupported(f"cannot use the network configuration: its cniVersion is {version!r}; {spoken}")
    return str(version)


def answer_version(config: object) -> str:
    """The version to answer in, also to a configuration that makes no sense: then the newest."""
    version = config.get("cniVersion") if isinstance(config, Mapping) else None
    return version if isinstance(version, str) and version in SUPPORTED else NEWEST
