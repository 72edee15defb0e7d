"""The settings of `azure-cni docker`: a TOML file, validated into one frozen value before anything starts.

Names, meanings and defaults are those of the chart's values; `docker.*` is of this file alone. Unknown names and
impossible values are refused, all at once and each with its line: `azure-cni docker --check-config` does that and
starts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from azure_cni.api.vnet_quota import LIMIT, MOST_IN_A_VNET
from azure_cni.azure.environments import ALIASES, NAMES, canonical
from azure_cni.azure.proxies import tls_context
from azure_cni.cni.conflist import STATUS_VERSION, VERSION
from azure_cni.docker.container_endpoints import REQUEST_WAITS_S
from azure_cni.docker.usage_granter import StandaloneQuota
from azure_cni.entrypoints.docker_paths import directories, file_path, plugin_socket
from azure_cni.entrypoints.host_settings import HostSettings, chained
from azure_cni.entrypoints.settings import AzureSettings
from azure_cni.entrypoints.toml_values import TomlValues, only
from azure_cni.entrypoints.web import Bind, WebSettings
from azure_cni.errors import ConfigInvalid
from azure_cni.host.audit_files import DAY_S, AuditLimits
from azure_cni.host.docker_engine import STANDARD_SOCKET
from azure_cni.host.install import CONFLIST, conflist_name
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import Adopt, NicWriter
from azure_cni.node.node_settings import NodeSettings, Timing

STANDARD_FILE: Final = Path("/etc/azure-cni/docker.toml")
LONGEST_WAIT_S: Final = 120.0
"""Of a container that waits for an address."""
UNPRIVILEGED_PORT: Final = 1024
"""The unit's root has no CAP_NET_BIND_SERVICE."""


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """All settings. `run_dir` is emptied by a reboot, `state_dir` is not; `wait_s`: how long a container that starts
    waits for a pool that grows. None: `audit` where no trail is kept, `engine` (Docker's own socket) where its
    containers are not to be listed, `cni` where only Docker is served.
    """

    nic_writer: NicWriter
    node: NodeSettings
    quota: StandaloneQuota
    azure: AzureSettings
    web: WebSettings
    socket: Path
    engine: Path | None
    run_dir: Path
    state_dir: Path
    audit: AuditLimits | None
    cni: HostSettings | None
    wait_s: float
    log_level: str
    log_format: str


def read_file(path: Path) -> DockerSettings:
    """Read and validate the file, and what it names; the standard one need not exist. ConfigInvalid."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        if path != STANDARD_FILE:
            raise ConfigInvalid(f"cannot start: there is no file {path}") from None
        text = ""
    except (OSError, UnicodeError) as error:
        raise ConfigInvalid(f"cannot start: cannot read {path}: {error}") from error
    settings = read(text, file=str(path))
    if settings.azure.ca_file:
        tls_context(Path(settings.azure.ca_file))
    return settings


def read(text: str, *, file: str = "docker.toml") -> DockerSettings:
    """Validate the text of a file. ConfigInvalid names all that is wrong, each with its line and what to write."""
    values = TomlValues(text, file=file)
    settings = _settings(values)
    values.refuse_faults()
    return settings


def _settings(values: TomlValues) -> DockerSettings:
    writer = NicWriter(values.take("nicWriter", "agent", "agent or none", _writer))
    nowhere: frozenset[IPv4Network] = frozenset()
    routable = values.take("routablePrefixes", nowhere, "a list of IPv4 prefixes", _prefixes)
    azure = _azure(values)
    if writer is NicWriter.NONE and azure.adopt is Adopt.NONE:
        values.fault("azure.adopt", "with nicWriter none, containers would get nothing; write plain, or leave it out")
    if writer is NicWriter.NONE and not routable:
        values.fault(
            "nicWriter", "it needs routablePrefixes: the VNet's prefixes, which only the resource manager knows"
        )
    run_dir, state_dir = directories(values)
    engine = _engine(values)
    return DockerSettings(
        nic_writer=writer,
        node=NodeSettings(
            defaults=_policy(values),
            routable=routable,
            allow_imds=values.flag("imds.allowPods", default=False),
            nic_read_only=writer is NicWriter.NONE,
            in_cluster=False,
            cooling_s=values.seconds("agent.coolingSeconds", limits.COOLING_S),
            timing=Timing(
                nic_s=values.seconds("agent.resyncSeconds", Timing().nic_s, least=1.0),
                shrink_delay_s=values.seconds("agent.shrinkDelaySeconds", Timing().shrink_delay_s),
            ),
        ),
        quota=_quota(values),
        azure=azure,
        web=_web(values),
        socket=plugin_socket(values, engine=engine, run_dir=run_dir),
        engine=engine,
        run_dir=run_dir,
        state_dir=state_dir,
        audit=_audit(values, state_dir / "audit"),
        cni=_cni(values, run_dir),
        wait_s=values.seconds("docker.waitSeconds", REQUEST_WAITS_S, most=LONGEST_WAIT_S),
        log_level=values.choice("agent.logLevel", "info", "debug", "warning", "error"),
        log_format=values.choice("agent.logFormat", "text", "json"),
    )


def _quota(values: TomlValues) -> StandaloneQuota:
    limit = values.whole("quota.limit", LIMIT, least=1, most=MOST_IN_A_VNET)
    reserved = values.whole("quota.reserved", 0, least=0, most=MOST_IN_A_VNET)
    if reserved >= limit:
        values.fault("quota.reserved", f"no address is left for containers; write less than quota.limit ({limit})")
    return StandaloneQuota(limit=limit, reserved=reserved)


def _audit(values: TomlValues, directory: Path) -> AuditLimits | None:
    kept = values.flag("audit.enabled", default=True)
    size = values.whole("audit.maxSizeMiB", 64, least=1, most=10_240)
    days = values.whole("audit.maxDays", 30, least=1, most=3650)
    return AuditLimits(directory, most_bytes=size << 20, longest_s=days * DAY_S) if kept else None


def _cni(values: TomlValues, run_dir: Path) -> HostSettings | None:
    host = HostSettings(
        bin_dir=values.path("cni.binDir", "/opt/cni/bin"),
        conf_dir=values.path("cni.confDir", "/etc/cni/net.d"),
        conf_name=values.take("cni.confName", CONFLIST, "the name of a file that ends in .conflist", conflist_name),
        chained=chained(
            portmap=values.flag("cni.chainPortmap", default=True),
            bandwidth=values.flag("cni.chainBandwidth", default=False),
        ),
        spec_version=values.choice("cni.specVersion", VERSION, STATUS_VERSION),
        run_dir=run_dir,
        plugin=values.path("cni.plugin", "/usr/libexec/azure-cni/azure-cni"),
    )
    return host if values.flag("cni.enabled", default=False) else None


def _azure(values: TomlValues) -> AzureSettings:
    return AzureSettings(
        cloud=canonical(values.choice("azure.cloud", *NAMES, *ALIASES)),
        arm_endpoint=values.url("azure.resourceManagerEndpoint", "", schemes=("https",)),
        identity=values.choice("azure.identity", "managed"),
        client_id=values.take("azure.clientID", "", "the client ID of an identity", _client_id),
        adopt=Adopt(values.choice("azure.adopt", *Adopt)),
        ca_file=file_path(values, "azure.caFile", ""),
        imds_endpoint=values.url("azure.metadataEndpoint", "http://169.254.169.254", schemes=("http", "https")),
        shrink_scale_sets=values.flag("scaleSets.shrink", default=False),
    )


def _client_id(value: Any) -> str:
    text: str = only(str)(value)
    if not text.isprintable() or " " in text:
        raise ValueError
    return text


def _policy(values: TomlValues) -> Policy:
    standard, most = Policy(), limits.MAX_ADDRESSES_PER_NODE
    min_free = values.whole("pool.minFree", standard.min_free, least=0, most=most)
    max_free = values.whole("pool.maxFree", standard.max_free, least=0, most=2 * most)
    batch = values.whole("pool.batch", standard.batch, least=1, most=most)
    size = values.whole("pool.size", 0, least=0, most=most) or None
    maximum = values.whole("pool.max", standard.maximum, least=1, most=most)
    blocks = values.whole("pool.blocks", standard.blocks, least=0, most=32)
    try:
        return Policy(min_free=min_free, max_free=max_free, batch=batch, size=size, maximum=maximum, blocks=blocks)
    except ConfigInvalid as error:
        values.fault("pool", f"its values do not fit together: {error}")
        return standard


def _web(values: TomlValues) -> WebSettings:
    bind = Bind(values.choice("metrics.bind", Bind.LOOPBACK, Bind.NODE, Bind.NONE))
    address = values.take("metrics.address", "", "an IPv4 address of this VM", _own_address)
    if bind is Bind.NODE and not address:
        values.fault("metrics.bind", "it needs metrics.address, the address of this VM to serve them at")
    return WebSettings(
        port=values.whole("metrics.port", 9810, least=UNPRIVILEGED_PORT, most=65_535), bind=bind, node_address=address
    )


def _own_address(value: Any) -> str:
    address = IPv4Address(only(str)(value))
    if address.is_unspecified or address.is_multicast:
        raise ValueError
    return str(address)


def _engine(values: TomlValues) -> Path | None:
    socket = file_path(values, "docker.engineSocket", str(STANDARD_SOCKET))
    return Path(socket) if socket else None


def _writer(value: Any) -> str:
    if value == NicWriter.CONTROLLER:
        raise ValueError("there is no controller without Kubernetes")
    if value not in list(NicWriter):
        raise ValueError
    return str(value)


def _prefixes(value: Any) -> frozenset[IPv4Network]:
    prefixes: list[Any] = only(list)(value)
    return frozenset(IPv4Network(only(str)(prefix)) for prefix in prefixes)
