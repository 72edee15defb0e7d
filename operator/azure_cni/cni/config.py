"""The network configuration of one plugin, as a runtime takes it from a conflist and hands it to the binary.

The specification's keys are known by name, the runtimes' own by the prefix `cni.dev/`. Every other key is ours; an
unknown one is a typing error and is refused by name, never ignored. The first question to a configuration is its
version: whether this build speaks it, and in which one an answer goes out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from posixpath import normpath
from typing import Any, Final

import msgspec

from azure_cni.cni.systems import LINUX, NodeSystem
from azure_cni.errors import ConfigInvalid, VersionUnsupported
from azure_cni.model.text import legible

SUPPORTED: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST: Final = SUPPORTED[-1]


_SHOWN: Final = 80
"""Characters of what is wrong that a message repeats."""


def required_version(config: Mapping[str, Any]) -> str:
    """The version that a network configuration requires. VersionUnsupported when this build does not support it."""
    version = config.get("cniVersion")
    spoken = f"this build speaks {', '.join(SUPPORTED)}"
    if version is None:
        # The specification has configurations without one mean 0.1.0.
        raise VersionUnsupported(f"cannot use the network configuration: it has no cniVersion; {spoken}")
    if version not in SUPPORTED:
        raise VersionUnsupported(f"cannot use the network configuration: its cniVersion is {_shown(version)}; {spoken}")
    return str(version)


def _shown(version: object) -> str:
    """Of any shape."""
    return legible(repr(version) if isinstance(version, str | int | float) else type(version).__name__, _SHOWN)


def answer_version(config: object) -> str:
    """The version to answer in, also to a configuration that makes no sense: then the newest."""
    version = config.get("cniVersion") if isinstance(config, Mapping) else None
    return version if isinstance(version, str) and version in SUPPORTED else NEWEST


PLUGIN: Final = "azure-cni"
"""Our `type`: the name of the binary."""

DEFAULT_SOCKET: Final = LINUX.default_socket

_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # CNI specification 1.1.0, network configuration, `name`
_MAX_NETWORK = 255  # NAME_MAX: libcni keeps results in files that are named by it
_SHOWN_PATH: Final = 214
_RUNTIMES_OWN: Final = "cni.dev/"


class Dns(msgspec.Struct, frozen=True, omit_defaults=True):
    """Resolver settings: handed on in the result, applied by the runtime."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class ValidAttachment(msgspec.Struct, frozen=True):
    """A sandbox that the runtime still knows (GC)."""

    containerID: str  # noqa: N815  # the specification's spelling
    ifname: str


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was found good.

    `run_dir` is where the binary leaves records for the agent, and looks for its mark; "" is that of the socket.
    """

    version: str = msgspec.field(name="cniVersion")
    name: str
    type: str
    socket: str = DEFAULT_SOCKET
    run_dir: str = msgspec.field(name="runDir", default="")
    args: dict[str, Any] | None = None
    capabilities: dict[str, bool] | None = None
    runtime_config: dict[str, Any] | None = msgspec.field(name="runtimeConfig", default=None)
    dns: Dns | None = None
    prev_result: dict[str, Any] | None = msgspec.field(name="prevResult", default=None)
    valid_attachments: tuple[ValidAttachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name="cni.dev/valid-attachments", default=msgspec.UNSET
    )
    """UNSET outside of GC; None is how Go writes an empty list."""
    attachments: tuple[ValidAttachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name="cni.dev/attachments", default=msgspec.UNSET
    )
    """The same under the name by which libcni 1.2.0 alone sends it (containernetworking/cni issue 1101)."""


_KNOWN: Final = tuple(name for name in NetConf.__struct_encode_fields__ if not name.startswith(_RUNTIMES_OWN))


def parse(config: Mapping[str, Any], *, system: NodeSystem = LINUX) -> NetConf:
    """Check a configuration of a node of that `system` and take from it what is ours. ConfigInvalid, or
    VersionUnsupported.
    """
    required_version(config)
    _refuse_unknown(config)
    given = {"socket": system.default_socket} | {key: value for key, value in config.items() if key != "ipam"}
    try:
        conf = msgspec.convert(given, NetConf)
    except msgspec.ValidationError as error:
        raise _invalid(legible(str(error))) from error
    if not is_network_name(conf.name):
        raise _invalid(
            f'its name "{legible(conf.name, _SHOWN)}" must be letters, digits, "_", "." and "-", at most '
            f"{_MAX_NETWORK}, and begin with a letter or digit"
        )
    if conf.type != PLUGIN:
        raise _invalid(f'its type is "{legible(conf.type, _SHOWN)}", and this is {PLUGIN}')
    for key, named, naming in (("socket", conf.socket, system.socket), ("runDir", conf.run_dir, system.directory)):
        if not naming.allows(named) and (named or key == "socket"):
            raise _invalid(f'{key} "{legible(named, _SHOWN_PATH)}" {naming.words}')
    return conf


def directory_elsewhere(conf: NetConf, agents: str) -> str:
    """That the binary leaves its files where the agent does not look, whose directory is `agents`; "" where it does.

    Without `runDir` the binary uses the directory of the socket, at which the agent was reached.
    """
    if not conf.run_dir or _plain(conf.run_dir) == _plain(agents):
        return ""
    return (
        f'runDir of network {conf.name} is "{legible(conf.run_dir, _SHOWN_PATH)}", and the agent\'s directory is '
        f"{agents}: DELs that come while no agent answers are recorded where it does not look, so their addresses come "
        "back late, and a STATUS meanwhile makes the node NotReady; remove runDir from the network configuration, or "
        "name the agent's directory there"
    )


def _plain(path: str) -> str:
    """Without detours, and without the link that /var/run is (Filesystem Hierarchy Standard 3.0)."""
    plain = normpath(path)
    return plain.removeprefix("/var") if plain.startswith("/var/run/") else plain


def is_network_name(name: str) -> bool:
    """Whether the specification allows a network of that name."""
    return len(name) <= _MAX_NETWORK and _NETWORK.fullmatch(name) is not None


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    if config.get("ipam"):
        raise _invalid(f"{PLUGIN} assigns the addresses of the node's pool itself; remove the key ipam")
    for key in config:
        if key in _KNOWN or key == "ipam" or key.startswith(_RUNTIMES_OWN):
            continue
        near = get_close_matches(key[:_SHOWN], _KNOWN, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "remove it;"
        raise _invalid(f'unknown key "{legible(key, _SHOWN)}": {hint} known keys are {", ".join(_KNOWN)}')


def _invalid(why: str) -> ConfigInvalid:
    return ConfigInvalid(f"cannot use the network configuration: {why}")
