"""Where the agent has the node's directories, and what it does to the plugins' configuration there.

The defaults are the chart's for Linux; a node with another system has other directories (`cni.systems`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from azure_cni.cni.conflist import BANDWIDTH, PORTMAP, STATUS_VERSION, VERSION, ChainedPlugin
from azure_cni.cni.extra_plugins import extra_plugins, require_distinct
from azure_cni.cni.systems import NodeSystem
from azure_cni.datapath.leaving import NO_SERVICES, Services
from azure_cni.datapath.modes import HIDDEN_LINKS, hides_links
from azure_cni.entrypoints.environment_values import PREFIX, Reader, shown
from azure_cni.errors import ConfigInvalid
from azure_cni.host.audit_files import DAY_S, AuditLimits
from azure_cni.model.identity import LinkNames, ModeName


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Paths on the node, as the agent's container sees them. `chained`: other plugins that the runtime calls after
    ours, in this order.
    """

    bin_dir: Path
    conf_dir: Path
    conf_name: str
    chained: tuple[ChainedPlugin, ...]
    spec_version: str
    run_dir: Path
    plugin: Path
    sysctls: Path = Path("/proc/sys")
    processes: Path | None = None
    """A mount of the node's /proc; None where there is none, and sandboxes with a link are then never found dead."""
    link_names: LinkNames = LinkNames.HASH
    """After what the node's ends of pods' links are named."""
    audit: AuditLimits | None = None
    """None where no audit trail is kept."""
    services: Services = NO_SERVICES
    """Which addresses are Services', where it is for the plugin to lead pods to them, as on Windows."""


def read_host(reader: Reader, system: NodeSystem) -> HostSettings:
    """Where an agent has its node's things, on that `system`."""
    return HostSettings(
        bin_dir=Path(reader.text("BIN_DIR", system.bin_dir)),
        conf_dir=Path(reader.text("CONF_DIR", system.conf_dir)),
        conf_name=reader.text("CONF_NAME", "10-azure-cni.conflist"),
        chained=_chained(reader, system),
        spec_version=reader.choice("SPEC_VERSION", VERSION, STATUS_VERSION),
        run_dir=Path(reader.text("RUN_DIR", system.run_dir)),
        plugin=Path(reader.text("PLUGIN", system.plugin)),
        sysctls=Path(reader.text("SYSCTL_DIR", "/proc/sys")),
        processes=reader.parsed("PROCESS_DIR", Path, "a directory", None),
        link_names=_link_names(reader),
        audit=_audit(reader),
        services=Services(reader.prefixes("SERVICE_PREFIXES"), dsr=reader.flag("SERVICE_DSR", default=True)),
    )


_NOT_ON_WINDOWS: Final = {
    "DOCKER_SOCKET": "Docker's containers are wired on Linux alone",
    "IP_FAMILIES": "pods on Windows get IPv4 addresses alone",
    "AUDIT_DIR": "the audit trail is kept on Linux alone",
    "CHAIN_PORTMAP": "there is no portmap for Windows",
    "CHAIN_BANDWIDTH": "there is no bandwidth for Windows",
    "EXTRA_PLUGINS": "plugins in the same conflist were not tried there",
}
"""Settings that would have no effect on a Windows node, and why. What cannot be there is in no chart for one."""


def require_windows(reader: Reader) -> None:
    """ConfigInvalid for what an agent on Windows does not do."""
    if (mode := reader.choice("MODE", *ModeName)) != ModeName.TRANSPARENT:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}MODE is {mode}, and pods on Windows hang on its virtual switch: set "
            f"{PREFIX}MODE={ModeName.TRANSPARENT}"
        )
    for name, why in _NOT_ON_WINDOWS.items():
        if (value := reader.text(name)) not in {"", "false", "[]"}:
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is {shown(value)}, but {why}; leave it out")


def chained(*, portmap: bool, bandwidth: bool) -> tuple[ChainedPlugin, ...]:
    """The plugins that the conflist names after ours."""
    return (PORTMAP,) * portmap + (BANDWIDTH,) * bandwidth


def _chained(reader: Reader, system: NodeSystem) -> tuple[ChainedPlugin, ...]:
    named = chained(
        portmap=reader.flag("CHAIN_PORTMAP", default=system.has_portmap),
        bandwidth=reader.flag("CHAIN_BANDWIDTH", default=False),
    )

    def all_of(text: str) -> tuple[ChainedPlugin, ...]:
        plugins = (*named, *extra_plugins(text))
        require_distinct(plugins)
        return plugins

    return reader.parsed("EXTRA_PLUGINS", all_of, "a JSON array of entries of a conflist", named)


def _link_names(reader: Reader) -> LinkNames:
    chosen = LinkNames(reader.choice("LINK_NAMES", *LinkNames))
    if hides_links(ModeName(reader.choice("MODE", *ModeName)), chosen):
        needed = f"{PREFIX}LINK_NAMES is {chosen}, which needs {PREFIX}MODE={ModeName.TRANSPARENT}"
        raise ConfigInvalid(f"cannot start: {needed}: {HIDDEN_LINKS}")
    return chosen


def _audit(reader: Reader) -> AuditLimits | None:
    directory = reader.parsed("AUDIT_DIR", Path, "a directory", None)
    if directory is None:
        return None
    days, size = reader.whole("AUDIT_DAYS", 30), reader.whole("AUDIT_MIB", 64)
    return AuditLimits(directory, most_bytes=max(1, size) << 20, longest_s=max(1, days) * DAY_S)
