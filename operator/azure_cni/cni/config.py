"""The network configuration of one plugin, as a runtime takes it from a conflist and hands it to the binary.

Keys of the specification are known by name, what runtimes add themselves by its prefix `cni.dev/`. Everything else
is ours, and what we do not know is a typing error: it is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from azure_cni.cni.versions import required_version
from azure_cni.errors import ConfigInvalid

PLUGIN: Final = "azure-cni"
"""Our `type`: the name of the binary."""

DEFAULT_SOCKET: Final = "/run/azure-cni/cni.sock"

_MAX_SOCKET = 107  # bytes of sun_path without its end (unix(7))
_RUNTIMES_OWN: Final = "cni.dev/"


class Dns(msgspec.Struct, frozen=True, omit_defaults=True):
    """Resolver settings: handed on in the result, applied by the runtime."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Attachment(msgspec.Struct, frozen=True):
    """A sandbox that the runtime still knows (GC)."""

    containerID: str  # noqa: N815  # the specification's spelling
    ifname: str


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was found good."""

    version: str = msgspec.field(name="cniVersion")
    name: str
    type: str
    socket: str = DEFAULT_SOCKET
    args: dict[str, Any] | None = None
    capabilities: dict[str, bool] | None = None
    runtime_config: dict[str, Any] | None = msgspec.field(name="runtimeConfig", default=None)
    dns: Dns | None = None
    prev_result: dict[str, Any] | None = msgspec.field(name="prevResult", default=None)
    valid_attachments: tuple[Attachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name="cni.dev/valid-attachments", default=msgspec.UNSET
    )
    """UNSET outside of GC; None is how Go writes an empty list."""
    attachments: tuple[Attachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name="cni.dev/attachments", default=msgspec.UNSET
    )
    """The same under the name by which libcni 1.2.0 alone sends it (containernetworking/cni issue 1101)."""


_KNOWN: Final = tuple(name for name in NetConf.__struct_encode_fields__ if not name.startswith(_RUNTIMES_OWN))


def parse(config: Mapping[str, Any]) -> NetConf:
    """Check a configuration and take from it what is ours. ConfigInvalid, or VersionUnsupported."""
    required_version(config)
    _refuse_unknown(config)
    try:
        conf = msgspec.convert({key: value for key, value in config.items() if key != "ipam"}, NetConf)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    if not conf.name:
        raise _invalid("its name is empty")
    if conf.type != PLUGIN:
        raise _invalid(f'its type is "{conf.type}", and this is {PLUGIN}')
    if not conf.socket.startswith("/") or len(conf.socket.encode()) > _MAX_SOCKET:
        raise _invalid(f'socket "{conf.socket}" is not an absolute path of at most {_MAX_SOCKET} bytes')
    return conf


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    if config.get("ipam"):
        raise _invalid(f"{PLUGIN} assigns the addresses of the node's pool itself; remove the key ipam")
    for key in config:
        if key in _KNOWN or key == "ipam" or key.startswith(_RUNTIMES_OWN):
            continue
        near = get_close_matches(key, _KNOWN, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "remove it;"
        raise _invalid(f'unknown key "{key}": {hint} known keys are {", ".join(_KNOWN)}')


def _invalid(why: str) -> ConfigInvalid:
    return ConfigInvalid(f"cannot use the network configuration: {why}")
