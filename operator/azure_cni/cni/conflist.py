"""The conflist through which a container runtime finds the plugin.

Its cniVersion decides which verbs the runtime calls. Why 1.0.0 by default (`cni.specVersion`):

- From 1.1.0 on, containerd 2 calls STATUS of every plugin in the list every five seconds, and makes the whole node
  NotReady when one fails. With 1.0.0 it calls none. (It calls GC in no version.)
- Every plugin of the list must support the version. Debian 12's portmap, 1.1.1, does not support 1.1.0, so a node with
  it in the list is NotReady permanently. The agent checks the versions of all chained plugins before it writes 1.1.0.
- containerd 1.6 and 1.7 do not know 1.1.0 at all.

CRI-O calls STATUS as well, and loses nothing with 1.0.0. The gain of 1.1.0: a booted node is NotReady from the first
second, not only once its agent has started.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from azure_cni.cni.config import PLUGIN, parse
from azure_cni.cni.systems import LINUX, NodeSystem
from azure_cni.model.text import NOT_JSON

VERSION: Final = "1.0.0"
"""What every runtime and every plugin speaks that is in use."""
STATUS_VERSION: Final = "1.1.0"
"""From this version on a runtime calls STATUS."""

ASKS_STATUS: Final = {"containerd": (2, 1), "cri-o": (1, 32)}
"""From these releases on, at the latest: containerd pull request 11135, ocicni pull request 196."""


@dataclass(frozen=True, slots=True)
class ChainedPlugin:
    """Another plugin that the runtime calls after ours for each pod: its `entry` in the conflist.

    `unchain` is the setting with which it is not called, as one gives it to helm: `cni.chainPortmap=false`. `origin`
    says where the program comes from, in words.
    """

    entry: Mapping[str, Any]
    unchain: str
    origin: str = "the reference CNI plugins (Debian and Ubuntu: containernetworking-plugins)"

    @property
    def name(self) -> str:
        """The program's name in the runtime's directory."""
        return str(self.entry["type"])


PORTMAP: Final = ChainedPlugin(
    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}, unchain="cni.chainPortmap=false"
)
"""hostPort of pods, by the reference plugin that each distribution of containerd installs beside us."""
BANDWIDTH: Final = ChainedPlugin(
    {"type": "bandwidth", "capabilities": {"bandwidth": True}}, unchain="cni.chainBandwidth=false"
)
"""The annotations kubernetes.io/ingress-bandwidth and egress-bandwidth of pods, which the runtime passes on by this
capability."""


@dataclass(frozen=True, slots=True)
class AgentPlace:
    """Where the binary finds the agent: the `socket`, and the directory of what they leave each other.

    `socket` is "" for the system's own. `run_dir` is "" where it is the directory of the socket, as it is on Linux.
    """

    system: NodeSystem = LINUX
    socket: str = ""
    run_dir: str = ""

    def keys(self) -> dict[str, str]:
        """Of the conflist."""
        run_dir = {"runDir": self.run_dir} if self.run_dir else {}
        return {"socket": self.socket or self.system.default_socket, **run_dir}


CAPABILITIES: Final = {"ips": True, "mac": True}
"""A runtime passes on what it was asked for of these only to a plugin that declares it, and says nothing otherwise.
What becomes of it is said in `requested`.
"""


def conflist(
    *,
    version: str = VERSION,
    place: AgentPlace | None = None,
    chained: Sequence[ChainedPlugin] = (),
    refuse_ports: bool = False,
) -> str:
    """The file's text, with which the binary finds the agent at its `place`. `chained`: in the order of their calls.
    `refuse_ports`: where none of them is portmap, ports to publish are for us to refuse.

    ConfigInvalid or VersionUnsupported for what we ourselves would refuse later, pod by pod.
    """
    place = place or AgentPlace()
    capabilities = CAPABILITIES | ({"portMappings": True} if refuse_ports and PORTMAP not in chained else {})
    capabilities |= dict.fromkeys(place.system.capabilities, True)
    ours = {"type": PLUGIN, **place.keys(), "capabilities": capabilities}
    parse({"cniVersion": version, "name": PLUGIN} | ours, system=place.system)
    plugins = [ours, *(dict(plugin.entry) for plugin in chained)]
    text = msgspec.json.encode({"cniVersion": version, "name": PLUGIN, "plugins": plugins})
    return msgspec.json.format(text, indent=2).decode() + "\n"


def holding_conflist(*, place: AgentPlace | None = None) -> str:
    """The file's text for a node where no pod can start yet, but pods from before its reboot must be able to end.

    The runtime needs a configuration for a DEL. One of 1.1.0 keeps the node NotReady by STATUS, with the agent's error.
    Other plugins are not in it: they may not support 1.1.0, and the reboot removed what they had set up.
    """
    return conflist(version=STATUS_VERSION, place=place)


def asks_status(runtime: str) -> bool:
    """Whether a runtime calls STATUS of a conflist that is of 1.1.0: `containerRuntimeVersion` of a Node.

    That is a name and a version, as in `containerd://2.4.2`. False where it cannot be read.
    """
    name, _, version = runtime.partition("://")
    numbers = re.match(r"v?(\d{1,9})\.(\d{1,9})", version, re.ASCII)
    if numbers is None or name not in ASKS_STATUS:
        return False
    return (int(numbers[1]), int(numbers[2])) >= ASKS_STATUS[name]


MULTUS: Final = frozenset({"multus", "multus-shim"})
"""Types of Multus' own entry, of its thin and its thick kind."""


def delegates(text: bytes, *, conf_name: str) -> bool | None:
    """Whether Multus' configuration has azure-cni make pods' `eth0`; None for one that is not Multus'. `conf_name` is
    our conflist's.

    Its daemons write it as the first in the directory: the cluster's own configuration by its path (thick), or copied
    whole (thin). People may name a network instead.
    """
    try:
        entry = _first_entry(msgspec.json.decode(text))
    except NOT_JSON:
        return None
    if str(entry.get("type")) not in MULTUS:
        return None
    if network := entry.get("clusterNetwork"):  # then it does not look at `delegates`
        return network == PLUGIN or ("/" in str(network) and str(network).rpartition("/")[2] == conf_name)
    copies = entry.get("delegates")
    return isinstance(copies, list) and bool(copies) and _first_entry(copies[0]).get("type") == PLUGIN


def _first_entry(configuration: object) -> Mapping[str, Any]:
    """Of a list of plugins the first one, which makes the interface; a configuration without one is that itself."""
    plugins = configuration.get("plugins", [configuration]) if isinstance(configuration, dict) else []
    first = plugins[0] if isinstance(plugins, list) and plugins else {}
    return first if isinstance(first, dict) else {}
