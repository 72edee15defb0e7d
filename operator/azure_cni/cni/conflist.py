"""The conflist that a container runtime reads to find us."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from azure_cni.cni.config import DEFAULT_SOCKET, PLUGIN, parse

VERSION: Final = "1.0.0"
"""What containerd 1.6 still speaks; a runtime does not talk to us in a later version than the conflist's."""

PORTMAP: Final[dict[str, Any]] = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
"""hostPort of pods, by the reference plugin that each distribution of containerd installs beside us."""


def conflist(*, version: str = VERSION, socket: str = DEFAULT_SOCKET, portmap: bool = False) -> str:
    """The file's text. ConfigInvalid or VersionUnsupported for what we ourselves would refuse later, pod by pod."""
    ours = {"type": PLUGIN, "socket": socket}
    parse({"cniVersion": version, "name": PLUGIN} | ours)
    plugins = [ours, PORTMAP] if portmap else [ours]
    text = msgspec.json.encode({"cniVersion": version, "name": PLUGIN, "plugins": plugins})
    return msgspec.json.format(text, indent=2).decode() + "\n"
