"""Plugins of others that people have chained after ours (`cni.extraPlugins`): which entries a conflist can have. Pure.

The agent writes the conflist, and puts it back when somebody changes it. So whoever needs a plugin of his own called
for each pod (Cilium's, a mesh's, the reference plugins `tuning` and `sbr`) gives its entry to the chart. What is wrong
with one would stop every pod of the cluster, and is refused before that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from azure_cni.cni.config import PLUGIN
from azure_cni.cni.conflist import MULTUS, ChainedPlugin
from azure_cni.model.text import NOT_JSON, counted, legible

MOST: Final = 8
"""Entries. Each is a process more for every pod."""
LARGEST: Final = 16_384
"""Characters of all entries together, as JSON. The chart refuses more, too."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""A file in the runtime's directory, and no way out of it."""
INTERFACE_MAKERS: Final = frozenset(
    {"bridge", "dummy", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan"}
)
"""The reference plugins that make an interface, and refuse one that is there: they cannot follow another plugin."""
ADDRESS_GIVERS: Final = frozenset({"dhcp", "host-local", "static"})
"""The reference plugins that are called by another one, and by no runtime."""
GIVEN: Final = frozenset({"cniVersion", "name", "prevResult", "runtimeConfig", "ipam"})
"""Keys that the runtime sets for each plugin, or that ask for another address."""


def extra_plugins(text: str) -> tuple[ChainedPlugin, ...]:
    """The entries in a JSON array, in the order of their calls. ValueError says which is wrong, and why."""
    if len(text) > LARGEST:
        raise ValueError(f"{counted(len(text), 'character')}, and {LARGEST} at most are taken")
    try:
        entries = msgspec.json.decode(text)
    except NOT_JSON as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(entries, list) or len(entries) > MOST:
        raise ValueError(f"not a list of at most {MOST} entries")
    return tuple(_plugin(number, entry) for number, entry in enumerate(entries, start=1))


def require_distinct(chained: Sequence[ChainedPlugin]) -> None:
    """ValueError where a plugin would be called twice."""
    names = [plugin.name for plugin in chained]
    for plugin in chained:
        if names.count(plugin.name) > 1:
            raise ValueError(f"{plugin.name} is chained twice; leave one out, or set {plugin.unchain}")


def _plugin(number: int, entry: object) -> ChainedPlugin:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise ValueError(f"entry {number} is no object with a `type`")  # noqa: TRY004  # a wrong value
    name = entry["type"]
    if not NAME.fullmatch(name):
        raise ValueError(f"entry {number}: its type {legible(name[:80])} is no name of a program")
    if name == PLUGIN:
        raise ValueError(f"entry {number}: {PLUGIN} is the first of the list already")
    if name in INTERFACE_MAKERS:
        raise ValueError(
            f"entry {number}: {name} makes an interface, and cannot follow {PLUGIN}; a second one is Multus'"
        )
    if name in ADDRESS_GIVERS:
        raise ValueError(f"entry {number}: {name} gives addresses to other plugins, and is called by no runtime")
    if name in MULTUS:
        raise ValueError(
            f"entry {number}: {name} would call {PLUGIN} again; its own configuration comes first and delegates"
        )
    if given := sorted(GIVEN & entry.keys()):
        raise ValueError(f"entry {number}, {name}: leave out {', '.join(given)}")
    _require_capabilities(number, name, entry)
    return ChainedPlugin(entry, unchain="cni.extraPlugins without it", origin="it")


def _require_capabilities(number: int, name: str, entry: Mapping[str, Any]) -> None:
    capabilities = entry.get("capabilities", {})
    if not isinstance(capabilities, dict) or not all(isinstance(value, bool) for value in capabilities.values()):
        raise ValueError(f"entry {number}, {name}: its capabilities are no object of true and false")
