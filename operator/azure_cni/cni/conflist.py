"""The conflist that a container runtime reads to find us.

Its cniVersion decides what the runtime asks. Why 1.0.0 unless somebody wants more (`cni.specVersion`):

- From 1.1.0 on, containerd 2 asks STATUS of every plugin in the list each five seconds, and makes the whole node
  NotReady when one fails. With 1.0.0 it asks nobody. (It asks GC in no version.)
- Each plugin of the list must speak the version. Debian 12's portmap, 1.1.1, does not speak 1.1.0, so that a list with
  it is NotReady permanently. The agent asks portmap before it writes 1.1.0.
- containerd 1.6 and 1.7 do not know 1.1.0 at all.

CRI-O asks STATUS as well and has no drawback from 1.0.0 either. What 1.1.0 brings: a node that has booted is NotReady
from the first second, and not only from when its agent has started.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from azure_cni.cni.config import DEFAULT_SOCKET, PLUGIN, parse

VERSION: Final = "1.0.0"
"""What every runtime and every plugin speaks that is in use."""
STATUS_VERSION: Final = "1.1.0"
"""From this version on a runtime asks STATUS."""

ASKS_STATUS: Final = {"containerd": (2, 1), "cri-o": (1, 32)}
"""From these releases on, at the latest: containerd pull request 11135, ocicni pull request 196."""

PORTMAP: Final[dict[str, Any]] = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
"""hostPort of pods, by the reference plugin that each distribution of containerd installs beside us."""


def conflist(*, version: str = VERSION, socket: str = DEFAULT_SOCKET, portmap: bool = False) -> str:
    """The file's text. ConfigInvalid or VersionUnsupported for what we ourselves would refuse later, pod by pod."""
    ours = {"type": PLUGIN, "socket": socket}
    parse({"cniVersion": version, "name": PLUGIN} | ours)
    plugins = [ours, PORTMAP] if portmap else [ours]
    text = msgspec.json.encode({"cniVersion": version, "name": PLUGIN, "plugins": plugins})
    return msgspec.json.format(text, indent=2).decode() + "\n"


def holding_conflist(*, socket: str = DEFAULT_SOCKET) -> str:
    """The file's text for a node where no pod can start yet, and pods of before its reboot shall be able to end.

    The runtime needs a configuration for a DEL. One of 1.1.0 keeps the node NotReady by STATUS, with the agent's words.
    Other plugins are not in it: they may not speak 1.1.0, and what portmap has set up is gone with the reboot.
    """
    return conflist(version=STATUS_VERSION, socket=socket)


def asks_status(runtime: str) -> bool:
    """Whether a runtime asks STATUS of a conflist that is of 1.1.0: `containerRuntimeVersion` of a Node.

    That is a name and a version, as in `containerd://2.4.2`. False where it cannot be read.
    """
    name, _, version = runtime.partition("://")
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers is None or name not in ASKS_STATUS:
        return False
    return (int(numbers[1]), int(numbers[2])) >= ASKS_STATUS[name]
