"""The agent's settings, read once from the environment (prefix AZURE_CNI_) and validated into one frozen value.

The chart sets every one of them; the defaults here are the chart's. A wrong value stops the start with a sentence that
names the variable, the value and what it may be, because that is what `kubectl logs` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import TypeVar

from azure_cni.api.nic import Adopt
from azure_cni.azure.environments import ALIASES, NAMES, canonical
from azure_cni.cni.conflist import STATUS_VERSION, VERSION
from azure_cni.entrypoints.web import Bind, WebSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.node.world import NodeSettings, Timing

PREFIX = "AZURE_CNI_"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Which Azure, and as whom. `nic` is `manage`, or `observe` to take the pool from IMDS and write nothing.

    `adopt` says which secondary addresses that others put on the NIC are for pods.
    """

    cloud: str
    arm_endpoint: str
    identity: str
    client_id: str
    nic: str
    adopt: Adopt
    ca_file: str
    imds_endpoint: str


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where things lie on the node, as the agent's container sees them."""

    bin_dir: Path
    conf_dir: Path
    conf_name: str
    chain_portmap: bool
    spec_version: str
    run_dir: Path
    plugin: Path
    sysctls: Path
    processes: Path | None
    """A mount of the node's /proc; None where there is none, and sandboxes with a link are then never found dead."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Everything that the agent is told from outside.

    `grants`: who allows this node its addresses, `self` or the cluster's `controller`; `nic_writer`: who asks Azure
    for them, this `agent` or the `controller`.
    """

    node_name: str
    grants: str
    nic_writer: str
    node: NodeSettings
    cooling_s: float
    azure: AzureSettings
    host: HostSettings
    web: WebSettings
    log_level: str
    log_format: str


class Reader:
    """Takes variables out of the environment, and names the variable when its value is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str = "") -> str:
        """The value, or the default where it is not set or blank."""
        return self._environ.get(PREFIX + name, "").strip() or default

    def required(self, name: str) -> str:
        """A value that the chart always sets."""
        value = self.text(name)
        if not value:
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is not set; the chart sets it, see its templates")
        return value

    def choice(self, name: str, *allowed: str) -> str:
        """One of the allowed words; the first is the default."""
        value = self.text(name, allowed[0])
        if value not in allowed:
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is {value!r}; it must be one of {', '.join(allowed)}")
        return value

    def parsed(self, name: str, parse: Callable[[str], T], what: str, default: T) -> T:
        """A value that `parse` understands; it is told to be `what` where it does not (ValueError)."""
        value = self.text(name)
        if not value:
            return default
        try:
            return parse(value)
        except ValueError as error:
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is {value!r}; it must be {what} ({error})") from None

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        return self.parsed(name, int, "a whole number", default)

    def seconds(self, name: str, default: float, *, least: float = 0.0) -> float:
        """A time."""
        value = self.parsed(name, float, "a number of seconds", default)
        if not value >= least:  # nan is neither
            raise ConfigInvalid(f"cannot start: {PREFIX}{name} is {value}; it must be at least {least} seconds")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """`true` or `false`."""
        return self.choice(name, *(("true", "false") if default else ("false", "true"))) == "true"


def read(environ: Mapping[str, str]) -> AgentSettings:
    """Validate the environment. ConfigInvalid names the first variable that is wrong."""
    reader = Reader(environ)
    grants = reader.choice("GRANTS", "self", "controller")
    return AgentSettings(
        node_name=reader.required("NODE_NAME"),
        grants=grants,
        nic_writer=_nic_writer(reader, grants=grants),
        node=_node(reader),
        cooling_s=reader.seconds("COOLING_S", limits.COOLING_S),
        azure=azure(reader),
        host=HostSettings(
            bin_dir=Path(reader.text("BIN_DIR", "/opt/cni/bin")),
            conf_dir=Path(reader.text("CONF_DIR", "/etc/cni/net.d")),
            conf_name=reader.text("CONF_NAME", "10-azure-cni.conflist"),
            chain_portmap=reader.flag("CHAIN_PORTMAP", default=True),
            spec_version=reader.choice("SPEC_VERSION", VERSION, STATUS_VERSION),
            run_dir=Path(reader.text("RUN_DIR", "/run/azure-cni")),
            plugin=Path(reader.text("PLUGIN", "/usr/libexec/azure-cni/azure-cni")),
            sysctls=Path(reader.text("SYSCTL_DIR", "/proc/sys")),
            processes=reader.parsed("PROCESS_DIR", Path, "a directory", None),
        ),
        web=web(reader, port=9810),
        log_level=reader.choice("LOG_LEVEL", "info", "debug", "warning", "error"),
        log_format=reader.choice("LOG_FORMAT", "json", "text"),
    )


def azure(reader: Reader) -> AzureSettings:
    """Which Azure, and as whom: the same variables for every process."""
    nic, adopt = reader.choice("NIC", "manage", "observe"), Adopt(reader.choice("ADOPT", *Adopt))
    if nic == "observe" and adopt is Adopt.NONE:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}ADOPT is none and {PREFIX}NIC observe: pods would get nothing, as a NIC that is "
            "only observed has no address that azure-cni put there"
        )
    return AzureSettings(
        cloud=canonical(reader.choice("CLOUD", *NAMES, *ALIASES)),
        arm_endpoint=reader.text("ARM_ENDPOINT"),
        identity=reader.choice("IDENTITY", "managed", "workload"),
        client_id=reader.text("CLIENT_ID"),
        nic=nic,
        adopt=adopt,
        ca_file=reader.text("CA_FILE"),
        imds_endpoint=reader.text("IMDS_ENDPOINT", "http://169.254.169.254"),
    )


def web(reader: Reader, *, port: int) -> WebSettings:
    """Where metrics and health are served; `port` is the default."""
    bind = Bind(reader.choice("METRICS_BIND", *Bind))
    address = reader.parsed("HOST_IP", ip_address, "an IP address", None)
    if bind is Bind.NODE and address is None:
        raise ConfigInvalid(
            f"cannot start: {PREFIX}HOST_IP is not set, and {PREFIX}METRICS_BIND=node serves metrics at the node's "
            "address; the chart sets both, see its templates"
        )
    return WebSettings(port=reader.whole("METRICS_PORT", port), bind=bind, node_address=str(address or ""))


def _nic_writer(reader: Reader, *, grants: str) -> str:
    writer = reader.choice("NIC_WRITER", "agent", "controller")
    if writer == "controller" and (grants != "controller" or reader.text("NIC") == "observe"):
        raise ConfigInvalid(
            f"cannot start: {PREFIX}NIC_WRITER is controller, which needs {PREFIX}GRANTS=controller "
            f"and {PREFIX}NIC=manage"
        )
    return writer


def _node(reader: Reader) -> NodeSettings:
    size = reader.whole("POOL_SIZE", 0) or None
    standard = Policy()
    try:
        defaults = Policy(
            min_free=reader.whole("POOL_MIN_FREE", standard.min_free),
            max_free=reader.whole("POOL_MAX_FREE", standard.max_free),
            batch=reader.whole("POOL_BATCH", standard.batch),
            size=size,
            maximum=reader.whole("POOL_MAX", standard.maximum),
        )
    except ConfigInvalid as error:
        raise ConfigInvalid(f"cannot start: the chart's values for pools do not fit together: {error}") from None
    return NodeSettings(
        defaults=defaults,
        routable=frozenset(_prefixes(reader)),
        allow_imds=reader.flag("ALLOW_IMDS", default=False),
        observes=reader.choice("NIC", "manage", "observe") == "observe",
        timing=Timing(
            nic_s=reader.seconds("RESYNC_S", Timing().nic_s, least=1.0),
            shrink_delay_s=reader.seconds("SHRINK_DELAY_S", Timing().shrink_delay_s),
        ),
    )


def _prefixes(reader: Reader) -> list[IPv4Network]:
    def parse(text: str) -> list[IPv4Network]:
        return [IPv4Network(part.strip()) for part in text.split(",") if part.strip()]

    return reader.parsed("ROUTABLE_PREFIXES", parse, "a comma-separated list of IPv4 prefixes", [])
